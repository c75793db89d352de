//! Bad input gets the status and shape of error that the contract defines, and nothing is stored. The harness checks
//! for every answer that it is no 5xx, and that an error has a known shape.

mod bodies;
mod fields;
mod keys;
mod markers;
mod paths;
mod problems;
