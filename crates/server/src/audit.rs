//! History for auditors, outside the service. To verify an export only the file and the verifier key are needed.
//!
//! - [`mod@line`]: one event in an export, and the trailer that ends it.
//! - [`export`]: from the database to a file that can be verified; [`form`]: lines of JSON, or a table.
//! - [`replay`]: one identity, event by event.
//! - [`verify`]: from the file alone to a [`report`].

pub mod export;
pub mod form;
pub mod line;
pub mod replay;
pub mod report;
mod source;
mod unambiguous;
pub mod verify;
