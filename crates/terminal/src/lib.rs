//! What the commands of `identityd` and `identity-audit` have in common: reading the command line, printing, ending.
//!
//! # Code map
//! - [`command`]: from the arguments of the process to its exit code.
//! - [`output`]: results on standard output, as text or as JSON; notes on standard error.
//! - [`progress`]: how far a command is, as lines of JSON on standard error.
//! - [`escape`]: makes text that somebody else wrote harmless on a terminal.

pub mod command;
pub mod escape;
pub mod output;
pub mod progress;

pub use output::Output;
