//! Verifies an export. Needs neither the service nor the database; only the verifier key is trusted.
//!
//! Lines are read and hashed on all cores, a batch at a time, and then compared with each other in their order. Memory
//! grows with the number of aggregates, not with the number of events.
//!
//! An event is proved if it is in a tree whose root equals a signed root. Events that are not proved are reported.

mod claim;
pub mod history;

use std::path::Path;

use identity_proof::checkpoint::{check_verifier_key, rename_key};
use identity_proof::trailer::Trailer;
use identity_proof::{Checkpoint, NoteError, checkpoint, introduction};

use crate::report::{Fault, Report};
use crate::source::Source;
use history::History;

/// Verifies an export against the key of its history, or a key that this one introduced, and against an earlier
/// checkpoint. The report also has the parts that are not proved. A caller must not ignore them.
pub fn file(
    path: &Path,
    verifier_key: &str,
    previous: Option<&str>,
    progress: impl FnMut(u64),
) -> Result<Report, Fault> {
    check_verifier_key(verifier_key).map_err(|error| Fault::file(error.to_string()))?;
    let (source, trailer) = Source::open(path)?;
    let Some(note) = &trailer.checkpoint else {
        let refused =
            trailer.refused.map(|why| format!("; the service does not sign this log any more: {why}"));
        return Err(Fault::file("the trailer has no checkpoint".to_owned() + &refused.unwrap_or_default()));
    };
    let keys = Keys::following(verifier_key, &trailer);
    let (signed, successor) = keys.open(note).map_err(|error| Fault::file(error.to_string()))?;
    let successor = successor.map(ToOwned::to_owned);
    let previous = previous.map(|note| earlier(note, &keys, &signed)).transpose()?;
    let mut history = History::begin(signed, previous, &trailer)?;
    history.read(source, progress)?;
    Ok(Report { successor, ..history.finish(trailer)? })
}

/// The given key and those that it introduced, in the file.
struct Keys {
    given: String,
    successors: Vec<String>,
}

impl Keys {
    fn following(given: &str, trailer: &Trailer) -> Self {
        let notes = trailer.introductions.iter().map(String::as_str);
        let successors = introduction::successors(given, notes).split_off(1);
        Self { given: given.trim().to_owned(), successors }
    }

    /// The given key under another name, with its successors.
    fn renamed(&self, origin: &str) -> Result<Self, NoteError> {
        Ok(Self { given: rename_key(&self.given, origin)?, successors: self.successors.clone() })
    }

    /// A checkpoint that one of the keys signed, and the successor if one of them signed it.
    fn open(&self, note: &str) -> Result<(Checkpoint, Option<&str>), NoteError> {
        let error = match Checkpoint::open(note, &self.given) {
            Ok(checkpoint) => return Ok((checkpoint, None)),
            Err(error) => error,
        };
        let name = self.given.split('+').next().unwrap_or_default();
        let opened = self.successors.iter().find_map(|key| {
            let renamed = rename_key(key, name).ok()?;
            Some((Checkpoint::open(note, &renamed).ok()?, Some(key.as_str())))
        });
        opened.ok_or(error)
    }
}

/// An earlier checkpoint of the same history, or of the epoch before it, which has a name of its own.
fn earlier(note: &str, keys: &Keys, signed: &Checkpoint) -> Result<Checkpoint, Fault> {
    let fault = |error: NoteError| Fault::file(format!("the earlier checkpoint: {error}"));
    let origin = Checkpoint::read(note).map_err(fault)?.origin;
    let organization = |origin: &str| checkpoint::parse_origin(origin).map(|(id, _)| id.to_owned());
    if organization(&origin) != organization(&signed.origin) {
        return Err(Fault::file(format!("the earlier checkpoint is of another history, {origin}")));
    }
    let keys = keys.renamed(&origin).map_err(fault)?;
    Ok(keys.open(note).map_err(fault)?.0)
}
