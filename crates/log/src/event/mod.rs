//! One event: its place in the log, its hash, its encoding, its ids.

pub mod codec;
pub mod envelope;
pub mod ids;
pub(crate) mod metadata;
pub mod recorded;
