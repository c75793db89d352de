//! Identities: created, changed field by field, listed newest first, and deleted with everything that they own.

mod births;
mod changes;
mod deaths;
mod failed_births;
mod lists;
mod renames;
