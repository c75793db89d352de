//! Identities: born whole, changed field by field, listed newest first, gone with everything they own.

mod births;
mod changes;
mod deaths;
mod failed_births;
mod lists;
mod renames;
