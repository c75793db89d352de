//! What the commands of `identityd` and `identity-audit` have in common: reading the command line, printing, ending.
//!
//! # Code map
//! - [`command`]: from the arguments of the process to its exit code.
//! - [`input`]: text files of limited size, and lines of limited length.
//! - [`output`]: results on standard output, as text or as JSON; notes on standard error.
//! - [`progress`]: reports on standard error, as lines of JSON, how far a command has got.
//! - [`escape`]: makes text that somebody else wrote harmless on a terminal.

pub mod command;
pub mod escape;
pub mod input;
pub mod output;
pub mod progress;

pub use output::Output;
