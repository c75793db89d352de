//! The last checkpoint of each organization, and the position from which on every event is sealed, outside the database.
//!
//! A database that was restored from a backup, or lost events in a failover, lacks the checkpoints that were signed after that
//! moment. The memory has them, so the signer notices a second history before it signs it.
//!
//! The memory is in files beside the signing key, or in a place that all hosts share. With files, each host knows what it has
//! signed itself, and learns from the database what others have signed. In a shared place an entry is replaced only if it is
//! still the one that was read before the log was checked (compare-and-set): of two processes that check two databases, one
//! does not sign.

mod error;
mod files;
mod place;
mod shared;

use std::path::PathBuf;
use std::sync::Arc;

use identity_proof::SigningKey;

use self::files::Files;
use self::place::NOT_THERE;
use self::shared::Shared;
use super::signed::Signed;

pub use self::error::MemoryError;
pub use self::place::{Entry, Revision, SharedPlace, Unreachable};

/// The entry with the position from which on every event is sealed.
const SEALED_FROM: &str = "sealed-from";

/// How the entries of organizations end.
const NOTE: &str = "note";

/// The memory of a signer.
#[derive(Debug, Clone)]
pub struct Memory {
    files: Files,
    /// If all hosts share a memory, files are only read, to bring what is in them to the shared place.
    shared: Option<Shared>,
}

/// What the memory has of an organization.
#[derive(Debug)]
pub(super) struct Recalled {
    pub(super) last: Option<Signed>,
    /// What the files of this host have, if the memory is elsewhere and the log was not compared with them yet.
    pub(super) left: Option<Signed>,
    /// To be given back when a checkpoint is stored.
    pub(super) revision: Revision,
}

impl Recalled {
    /// The latest epoch, and the number of events that were signed in it; `None` if a file of this host is left.
    pub(super) fn place(&self) -> Option<(u64, u64)> {
        self.last.as_ref().filter(|_| self.left.is_none()).map(Signed::place)
    }

    pub(super) fn epochs(&self) -> impl Iterator<Item = u64> {
        self.last.iter().chain(&self.left).map(|signed| signed.epoch)
    }
}

impl Memory {
    /// The memory in this folder.
    pub fn in_files(folder: PathBuf) -> Self {
        Self { files: Files::new(folder), shared: None }
    }

    /// Keeps the memory in a place that all hosts with this key share. The first signer copies what the folder of its host has into that
    /// place.
    #[must_use]
    pub fn shared(self, place: Arc<dyn SharedPlace>, key: &SigningKey) -> Self {
        Self { shared: Some(Shared::new(place, key)), ..self }
    }

    /// The memory of the same installation after its key was replaced by this one.
    pub(super) fn of_key(&self, key: &SigningKey) -> Self {
        Self { shared: self.shared.as_ref().map(|shared| shared.of_key(key)), files: self.files.clone() }
    }

    /// Whether the shared place did not answer when it was asked last.
    pub(super) fn is_away(&self) -> bool {
        self.shared.as_ref().is_some_and(Shared::is_away)
    }

    /// The last checkpoint of an organization.
    pub(super) async fn recall(&self, organization_id: &str) -> Result<Recalled, MemoryError> {
        let name = note_of(organization_id);
        let in_files = checkpoint(&name, self.files.read(&name).await?)?;
        let Some(shared) = &self.shared else {
            return Ok(Recalled { last: in_files, left: None, revision: NOT_THERE });
        };
        let (text, revision) = match shared.read(&name).await? {
            Some(Entry { text, revision }) => (Some(text), revision),
            None => (None, NOT_THERE),
        };
        Ok(Recalled { last: checkpoint(&name, text)?, left: in_files, revision })
    }

    /// Stores a checkpoint, in place of the one that was recalled with this revision. When this returns, it survives a crash.
    /// Returns the new revision.
    pub(super) async fn remember(
        &self,
        organization_id: &str,
        signed: &Signed,
        revision: Revision,
    ) -> Result<Revision, MemoryError> {
        let name = note_of(organization_id);
        let Some(shared) = &self.shared else {
            // The processes of one host take turns by a lock in the database.
            self.files.write(&name, &signed.note).await?;
            return Ok(NOT_THERE);
        };
        shared.replace(&name, &signed.note, revision).await?.ok_or(MemoryError::Overtaken)
    }

    /// Retires the file of an organization: the log continues what it has, and so does what the shared place has now.
    pub(super) async fn retire_file(&self, organization_id: &str) -> Result<(), MemoryError> {
        if self.shared.is_some() {
            self.files.retire(&note_of(organization_id)).await?;
        }
        Ok(())
    }

    /// Copies what the files of this host have to the shared place, once in the life of a process. A checkpoint that is there
    /// already stays, and the signer compares the log with both. `sealed-from` is copied last: while the shared place lacks it,
    /// other hosts sign nothing. Of two positions the smaller one is kept, which accepts fewer events without a seal.
    pub(super) async fn bring_files(&self) -> Result<(), MemoryError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let bring = async || {
            for name in self.files.names(NOTE).await? {
                if let Some(note) = self.files.read(&name).await?
                    && shared.read(&name).await?.is_none()
                {
                    shared.replace(&name, &note, NOT_THERE).await?;
                }
            }
            let Some(here) = position(self.files.read(SEALED_FROM).await?)? else { return Ok(()) };
            let there = shared.read(SEALED_FROM).await?;
            let revision = there.as_ref().map_or(NOT_THERE, |entry| entry.revision);
            if position(there.map(|entry| entry.text))?.is_none_or(|there| here < there) {
                let replaced = shared.replace(SEALED_FROM, &here.to_string(), revision).await?;
                replaced.ok_or(MemoryError::Overtaken)?;
            }
            Ok(self.files.retire(SEALED_FROM).await?)
        };
        shared.brought.get_or_try_init(bring).await.copied()
    }

    /// Whether nothing was ever stored: nobody who uses this memory has signed anything. Asked where no position is stored.
    pub(super) async fn is_empty(&self) -> Result<bool, MemoryError> {
        Ok(self.files.read(SEALED_FROM).await?.is_none() && self.files.names(NOTE).await?.is_empty())
    }

    /// The position from which on every event is sealed, if it was stored.
    pub(super) async fn sealed_from(&self) -> Result<Option<i64>, MemoryError> {
        position(match &self.shared {
            Some(shared) => shared.read(SEALED_FROM).await?.map(|entry| entry.text),
            None => self.files.read(SEALED_FROM).await?,
        })
    }

    /// Stores the position from which on every event is sealed. If another process has stored one first, that one stays.
    pub(super) async fn remember_sealed_from(&self, position: i64) -> Result<(), MemoryError> {
        let text = format!("{position}\n");
        match &self.shared {
            Some(shared) => drop(shared.replace(SEALED_FROM, &text, NOT_THERE).await?),
            None => self.files.write_new(SEALED_FROM, &text).await?,
        }
        Ok(())
    }
}

fn checkpoint(name: &str, note: Option<String>) -> Result<Option<Signed>, MemoryError> {
    let read = note.map(Signed::read).transpose();
    read.map_err(|error| MemoryError::Note { name: name.to_owned(), error })
}

fn position(text: Option<String>) -> Result<Option<i64>, MemoryError> {
    Ok(text.map(|text| text.trim().parse()).transpose()?)
}

/// The name of the entry of an organization. Ids are letters and digits. Any other character is escaped, so that no name leads
/// out of a folder, or to another entry.
fn note_of(organization_id: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    let name: String =
        organization_id
            .chars()
            .map(|character| {
                if plain(character) { character.to_string() } else { format!("%{:x}", u32::from(character)) }
            })
            .collect();
    format!("{name}.{NOTE}")
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::fs;

    use super::Memory;

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::in_files(folder.path().to_owned());
        fs::write(folder.path().join("damaged.note"), "no note").unwrap();
        fs::create_dir(folder.path().join("unreadable.note")).unwrap();
        let damaged = memory.recall("damaged").await.unwrap_err();
        assert_eq!(damaged.to_string(), "damaged.note in the memory of the signer is no checkpoint");
        let unreadable = memory.recall("unreadable").await.unwrap_err();
        let source = unreadable.source().unwrap().to_string();
        assert!(source.contains("unreadable.note"), "{source}");
    }
}
