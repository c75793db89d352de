//! Verifies an export. Needs neither the service nor the database; only the verifier key is trusted.
//!
//! Lines are read and hashed on all cores, a batch at a time, and then compared with each other in their order. Memory
//! grows with the number of aggregates, not with the number of events.
//!
//! An event is proved if the root of a tree that has it equals a signed root. Events that are not proved are reported.

mod claim;
mod history;

use std::path::Path;

use identity_proof::{Checkpoint, checkpoint};

use super::report::{Fault, Report};
use super::source::Source;
use history::History;

/// Verifies an export against the key of its history, and against an earlier checkpoint of it. What is not proved is in
/// the report, and is nothing that may be passed over.
pub fn file(
    path: &Path,
    verifier_key: &str,
    previous: Option<&str>,
    progress: impl FnMut(u64),
) -> Result<Report, Fault> {
    let (source, trailer) = Source::open(path)?;
    let Some(note) = &trailer.checkpoint else {
        let refused =
            trailer.refused.map(|why| format!("; the service does not sign this log any more: {why}"));
        return Err(Fault::file("the trailer has no checkpoint".to_owned() + &refused.unwrap_or_default()));
    };
    let signed = Checkpoint::open(note, verifier_key).map_err(|error| Fault::file(error.to_string()))?;
    let previous = previous.map(|note| earlier(note, verifier_key, &signed)).transpose()?;
    let mut history = History::begin(signed, previous, &trailer)?;
    history.read(source, progress)?;
    history.finish(trailer)
}

/// An earlier checkpoint of the same history, or of the epoch before it, which has a name of its own.
fn earlier(note: &str, verifier_key: &str, signed: &Checkpoint) -> Result<Checkpoint, Fault> {
    let fault = |error: identity_proof::NoteError| Fault::file(format!("the earlier checkpoint: {error}"));
    let origin = Checkpoint::read(note).map_err(fault)?.origin;
    let organization = |origin: &str| checkpoint::parse_origin(origin).map(|(id, _)| id.to_owned());
    if organization(&origin) != organization(&signed.origin) {
        return Err(Fault::file(format!("the earlier checkpoint is of another history, {origin}")));
    }
    let renamed = checkpoint::rename_key(verifier_key, &origin).map_err(fault)?;
    Checkpoint::open(note, &renamed).map_err(fault)
}
