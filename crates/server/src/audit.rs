//! History for auditors, outside the service. An export is verified with nothing but the file and the verifier key.
//!
//! - [`mod@line`]: one event in an export, and the trailer that ends it.
//! - [`export`]: from the database to a file that proves itself; [`form`]: as lines of JSON, or as a table.
//! - [`replay`]: one identity, event by event.
//! - [`verify`]: from the file alone to a verdict, which is a [`report`].

pub mod export;
pub mod form;
pub mod line;
pub mod replay;
pub mod report;
mod source;
mod unambiguous;
pub mod verify;
