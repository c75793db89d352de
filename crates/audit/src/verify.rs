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
use identity_proof::{Checkpoint, CosignerKey, NoteError, checkpoint, introduction};

use crate::report::{Fault, Report};
use crate::source::Source;
use crate::time::utc;
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
    let Opened { checkpoint, successor, time } =
        keys.open(note).map_err(|error| Fault::file(error.to_string()))?;
    let previous = previous.map(|note| earlier(note, &keys, &checkpoint, time)).transpose()?;
    let mut history = History::begin(checkpoint, previous, &trailer)?;
    history.read(source, progress)?;
    Ok(Report { successor, signed_at: time, ..history.finish(trailer)? })
}

/// A checkpoint that one of the keys signed.
struct Opened {
    checkpoint: Checkpoint,
    /// The key, if it is not the given one.
    successor: Option<String>,
    /// When this key signed it, if it says so.
    time: Option<u64>,
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

    /// The checkpoint of a note that one of the keys signed.
    fn open(&self, note: &str) -> Result<Opened, NoteError> {
        let error = match opened(note, &self.given) {
            Err(error @ NoteError::Signature) => error,
            result => return result,
        };
        let name = self.given.split('+').next().unwrap_or_default();
        let found = self.successors.iter().find_map(|key| {
            let successor = Some(key.clone());
            Some(Opened { successor, ..opened(note, &rename_key(key, name).ok()?).ok()? })
        });
        found.ok_or(error)
    }
}

/// The checkpoint of a note that the owner of this verifier key signed.
fn opened(note: &str, verifier_key: &str) -> Result<Opened, NoteError> {
    let checkpoint = Checkpoint::open(note, verifier_key)?;
    let time = CosignerKey::of_signer(verifier_key)?.find(note)?.map(|cosignature| cosignature.time);
    Ok(Opened { checkpoint, successor: None, time })
}

/// An earlier checkpoint of the same history, or of the epoch before it, which has a name of its own.
fn earlier(note: &str, keys: &Keys, signed: &Checkpoint, time: Option<u64>) -> Result<Checkpoint, Fault> {
    let fault = |error: NoteError| Fault::file(format!("the earlier checkpoint: {error}"));
    let origin = Checkpoint::read(note).map_err(fault)?.origin;
    let organization = |origin: &str| checkpoint::parse_origin(origin).map(|(id, _)| id.to_owned());
    if organization(&origin) != organization(&signed.origin) {
        return Err(Fault::file(format!("the earlier checkpoint is of another history, {origin}")));
    }
    let keys = keys.renamed(&origin).map_err(fault)?;
    let earlier = keys.open(note).map_err(fault)?;
    check_times(&earlier, signed, time)?;
    Ok(earlier.checkpoint)
}

/// Checks that a checkpoint with more events was not signed before one with fewer. The signer never does that in an epoch, also
/// if its clock is set back. In another epoch it may have: what was signed before may be lost then.
fn check_times(earlier: &Opened, signed: &Checkpoint, time: Option<u64>) -> Result<(), Fault> {
    let Opened { checkpoint: Checkpoint { origin, size, .. }, time: Some(earlier), .. } = earlier else {
        return Ok(());
    };
    match time {
        Some(time) if time < *earlier && *size < signed.size && *origin == signed.origin => {
            Err(Fault::file(format!(
                "the checkpoint of {} events was signed at {}, before the earlier one of {size} events, at {}",
                signed.size,
                utc(time),
                utc(*earlier)
            )))
        }
        _ => Ok(()),
    }
}
