//! The checkpoints in a backup, and whether their signatures are right.

use std::collections::HashMap;

use anyhow::ensure;
use identity_proof::introduction::successors;
use identity_proof::{Checkpoint, Hash, checkpoint};
use rayon::prelude::*;

use super::fields::{Columns, Field, rows_of};
use super::format::Section;

/// The verifier keys that checkpoints may be signed with: the given one, and those that introductions tie to it.
#[derive(Debug, Default)]
pub(super) struct Keys {
    given: Option<String>,
    /// The key that was replaced, and the note that says so.
    introductions: Vec<(String, String)>,
}

/// The checkpoints of the last epoch of each organization.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    of: HashMap<String, Epoch>,
}

/// The checkpoints of one epoch, the smallest first.
#[derive(Debug, Default)]
pub(super) struct Epoch {
    pub(super) number: u64,
    pub(super) checkpoints: Vec<Checkpoint>,
    /// What is wrong with them.
    pub(super) faults: Vec<String>,
}

/// The columns of the table that are read.
const COLUMNS: [&str; 5] = ["organization_id", "epoch", "size", "root", "note"];

/// A row of the table.
struct Row {
    organization_id: String,
    epoch: u64,
    checkpoint: Checkpoint,
    fault: Option<&'static str>,
}

impl Keys {
    pub(super) fn new(given: Option<&str>) -> Self {
        Self { given: given.map(|key| key.trim().to_owned()), introductions: vec![] }
    }

    /// Reads rows of `signing_key_introductions`, which come in the order in which they were made.
    pub(super) fn read(&mut self, section: &Section, block: &[u8]) -> anyhow::Result<u64> {
        let (columns, rows) = (Columns::of(section, ["old_key", "note"]), rows_of(section, block)?);
        let count = rows.len() as u64;
        for row in rows {
            let [old_key, note] = columns.read(row)?;
            self.introductions.push((old_key.text()?.to_owned(), note.text()?.to_owned()));
        }
        Ok(count)
    }

    /// The notes, in the order in which they were made.
    pub(super) fn into_introductions(self) -> Vec<String> {
        self.introductions.into_iter().map(|(_, note)| note).collect()
    }

    /// The given key with those before and after it; none if no key was given.
    fn chain(&self) -> Vec<String> {
        let Some(given) = &self.given else { return vec![] };
        let notes = || self.introductions.iter().map(|(_, note)| note.as_str());
        let mut chain = successors(given, notes());
        let is_given =
            |key: &String| checkpoint::rename_key(given, "identityd").is_ok_and(|given| given == *key);
        let olds = self.introductions.iter().map(|(old, _)| old);
        chain.extend(olds.filter(|old| successors(old, notes()).iter().any(is_given)).cloned());
        chain
    }
}

impl Checkpoints {
    /// Reads rows of `checkpoints`, which come by organization, epoch and size.
    pub(super) fn read(&mut self, keys: &Keys, section: &Section, block: &[u8]) -> anyhow::Result<u64> {
        let (columns, chain) = (Columns::of(section, COLUMNS), keys.chain());
        let rows = rows_of(section, block)?;
        let count = rows.len() as u64;
        let read: Vec<_> = rows
            .into_par_iter()
            .map(|row| columns.read(row).and_then(|row| Row::of(row, &chain)))
            .collect::<anyhow::Result<_>>()?;
        for Row { organization_id, epoch, checkpoint, fault } in read {
            let last = self.of.entry(organization_id).or_default();
            if epoch > last.number {
                // An operator has looked at the earlier epochs.
                *last = Epoch { number: epoch, ..Epoch::default() };
            }
            last.faults
                .extend(fault.map(|fault| format!("the checkpoint of {} events {fault}", checkpoint.size)));
            let before = last.checkpoints.last().map_or(0, |before| before.size);
            ensure!(
                epoch == last.number && checkpoint.size > before,
                "the checkpoints of the backup are out of order"
            );
            last.checkpoints.push(checkpoint);
        }
        Ok(count)
    }

    /// Takes the checkpoints of an organization.
    pub(super) fn take(&mut self, organization_id: &str) -> Epoch {
        self.of.remove(organization_id).unwrap_or_default()
    }

    /// The organizations whose checkpoints were not taken.
    pub(super) fn left(&self) -> Vec<String> {
        self.of.keys().cloned().collect()
    }
}

impl Row {
    /// Reads a row and looks for a fault. Without keys, signatures are not looked at.
    fn of(row: [Field<'_>; COLUMNS.len()], keys: &[String]) -> anyhow::Result<Self> {
        let [organization_id, epoch, size, root, note] = row;
        let (organization_id, note) = (organization_id.text()?.to_owned(), note.text()?);
        let (epoch, size) = (epoch.count()?, size.count()?);
        let root = Hash(root.bytes()?.try_into()?);
        let checkpoint = Checkpoint { origin: checkpoint::origin(&organization_id, epoch), size, root };
        let fault = if Checkpoint::read(note).ok().as_ref() != Some(&checkpoint) {
            Some("is not the one in its signed note")
        } else if !keys.is_empty() && !keys.iter().any(|key| is_signed(note, key, &checkpoint.origin)) {
            Some("is not signed by the given key, nor by one that is tied to it")
        } else {
            None
        };
        Ok(Self { organization_id, epoch, checkpoint, fault })
    }
}

/// Whether the owner of a verifier key, whatever its name, signed a checkpoint of this history.
fn is_signed(note: &str, key: &str, origin: &str) -> bool {
    checkpoint::rename_key(key, origin).is_ok_and(|key| Checkpoint::open(note, &key).is_ok())
}
