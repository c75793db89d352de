//! History for auditors: what of it needs the service or its database. The crate `identity-audit` verifies exports.
//!
//! - [`export`]: from the database to a file that can be verified; [`form`]: lines of JSON, or a table.
//! - [`replay`]: one identity, event by event.

pub mod export;
pub mod form;
pub mod replay;
