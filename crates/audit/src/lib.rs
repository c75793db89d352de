//! Verifies the history of an organization from a file. Only the file and the verifier key are needed, and this crate is small
//! enough to be read and built by somebody who does not trust the service: it has no client of a database and no server.
//!
//! # Code map
//! - [`mod@line`]: one event in an export; [`envelope`]: what of it is hashed; [`json`]: a part of it that stays text; `unambiguous`: JSON that every reader understands in the same way.
//! - `source`: the lines of a file, and the trailer that ends it; [`events`]: the events of a file.
//! - [`verify`]: from the file alone to a [`report`]; `cores`: lines are hashed on all cores.
//! - [`time`]: when a checkpoint was signed. [`witness`]: who else has seen it.
//! - [`command`]: `verify` as a command, of `identityd audit` and of the program `identity-audit`.

pub mod command;
mod cores;
pub mod envelope;
pub mod events;
pub mod json;
pub mod line;
pub mod report;
mod source;
pub mod time;
mod unambiguous;
pub mod verify;
pub mod witness;
