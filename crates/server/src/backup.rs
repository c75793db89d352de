//! Backup and restore: everything that cannot be derived, in one file that is independent of the version of Postgres.
//! `docs/backup.md` describes the file byte by byte.
//!
//! - [`tables`]: which tables are in a backup, and why the others are not.
//! - [`format`](mod@format): the lines of a backup; `writer` and `reader`: the file as a whole; `fields`: a row by the names of its
//!   columns.
//! - [`take`]: from the database to a file.
//! - [`verify`]: from the file alone to a verdict; `checkpoints`, `histories`: its parts.
//! - [`restore`]: from a file into an empty database; `verifying`: verifies the file while its rows are written; `indexes`: how
//!   many rows are written fast; [`mark`]: a restore that is not finished; [`proofs`]: how the restored logs go on being signed.

mod checkpoints;
mod fields;
pub mod format;
mod histories;
mod indexes;
pub mod mark;
pub mod proofs;
mod reader;
pub mod restore;
pub mod tables;
pub mod take;
pub mod verify;
pub mod verifying;
mod writer;
