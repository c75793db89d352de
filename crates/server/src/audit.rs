//! History for auditors, outside the service: exported, and verified by whoever holds the file and the verifier key.
//!
//! - [`line`]: one event in an export, and the trailer that ends it.
//! - [`export`]: from the database to a file that proves itself.
//! - [`verify`]: from the file alone to a verdict.

pub mod export;
pub mod line;
pub mod verify;
