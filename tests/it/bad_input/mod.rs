//! Whatever comes in, the answer has the status and shape of the contract, nothing breaks, and nothing is stored.
//! That no answer is a 5xx, and that each error has a known shape, is checked for every answer by the harness.

mod bodies;
mod fields;
mod keys;
mod paths;
mod problems;
