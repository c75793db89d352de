//! Verifies a backup. Needs neither the service nor a database. Memory grows with the number of aggregates and checkpoints, not
//! with the number of events.

use std::path::Path;

use anyhow::{Context as _, ensure};

use identity_log::count::EventCounts;
use identity_proof::introduction::successors;

use super::checkpoints::{Checkpoints, Keys};
use super::fields::{Columns, count_rows, rows_of};
use super::format::{BackupHead, Section, TYPES};
use super::histories::Histories;
pub use super::histories::Organization;
use super::reader::{Next, Reader};
use super::tables;

/// The tables without which there is no log.
const LOG_TABLES: [&str; 5] =
    ["log_head", "organization_heads", "signing_key_introductions", "checkpoints", "events"];

/// What is known of a backup whose bytes are those that were written.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// What its head says.
    pub head: BackupHead,
    /// The hash in its last line, which stands for the whole file.
    pub sha256: String,
    /// What was found out about each organization.
    pub organizations: Vec<Organization>,
    /// How many events there are of each type.
    pub counts: EventCounts,
    /// What is wrong with histories, which were so when the backup was taken: the organization, and what it is.
    pub faults: Vec<(String, String)>,
    /// Whether signatures were checked, for which a key is needed.
    pub are_signatures_checked: bool,
    /// The notes in which signing keys introduced their successors, in the order in which they were made.
    introductions: Vec<String>,
}

impl Verified {
    /// Whether this signing key has introduced a successor, so that nothing is signed with it any more.
    pub fn is_replaced(&self, verifier_key: &str) -> bool {
        successors(verifier_key, self.introductions.iter().map(String::as_str)).len() > 1
    }

    /// What is wrong with the history of an organization, if anything is.
    pub fn fault_of(&self, organization_id: &str) -> Option<&str> {
        let fault = self.faults.iter().find(|(id, _)| id == organization_id);
        fault.map(|(_, what)| what.as_str())
    }

    /// How many events are behind the last checkpoints of their organizations.
    pub fn uncovered(&self) -> u64 {
        self.organizations.iter().map(|one| one.events.saturating_sub(one.signed)).sum()
    }
}

/// The state of a verification while sections are read.
struct Verification {
    keys: Keys,
    checkpoints: Checkpoints,
    histories: Histories,
    /// What `log_head` says.
    position: u64,
}

/// A part of a backup whose bytes are those that were written, as far as it was read.
#[derive(Debug)]
pub(super) enum BackupPart {
    /// The rows of a table follow.
    Section(Section),
    /// Whole rows, and how many.
    Rows(Vec<u8>, u64),
    /// The rows of the table end here.
    SectionEnd,
}

/// Verifies a backup. Fails if a byte of it is not the one that was written. `key` is the verifier key of the installation, under
/// any name. `progress` hears how many rows were read, and how many there are.
pub fn file(path: &Path, key: Option<&str>, mut progress: impl FnMut(u64, u64)) -> anyhow::Result<Verified> {
    let reader = open(path)?;
    let (mut done, total) = (0, reader.head().all_rows());
    read(reader, key, |part| {
        if let BackupPart::Rows(_, rows) = part {
            done += rows;
            progress(done, total);
        }
        Ok(())
    })
}

/// Fails if a file is no backup, which its first line shows.
pub fn check_head(path: &Path) -> anyhow::Result<()> {
    open(path).map(drop)
}

/// Opens a backup, and reads its head.
pub(super) fn open(path: &Path) -> anyhow::Result<Reader> {
    let reader = Reader::open(path)?;
    for table in LOG_TABLES {
        ensure!(reader.head().rows.contains_key(table), "the backup has no {table}");
    }
    Ok(reader)
}

/// Verifies a backup and hands over its parts on the way. Nobody knows before the end whether all of it is right.
pub(super) fn read(
    mut reader: Reader,
    key: Option<&str>,
    mut take: impl FnMut(BackupPart) -> anyhow::Result<()>,
) -> anyhow::Result<Verified> {
    let head = reader.head().clone();
    let mut verification = Verification {
        keys: Keys::new(key),
        checkpoints: Checkpoints::default(),
        histories: Histories::default(),
        position: 0,
    };
    let mut last = None;
    let end = loop {
        let section = match reader.advance()? {
            Next::Section(section) => section,
            Next::End(end) => break end,
        };
        let place = place(&section)?;
        ensure!(last.is_none_or(|last| last < place), "the sections of the backup are out of order");
        last = Some(place);
        take(BackupPart::Section(section.clone()))?;
        let (mut all, mut blocks) = (0, reader.rows());
        while let Some(block) = blocks.next_block()? {
            let rows = verification.read(&section, &block)?;
            all += rows;
            take(BackupPart::Rows(block, rows))?;
        }
        blocks.finish(&section, all)?;
        take(BackupPart::SectionEnd)?;
    };
    verification.finish(head, end.sha256, key.is_some())
}

/// The place of a section among the tables of a backup.
fn place(section: &Section) -> anyhow::Result<usize> {
    let place = tables::kept().position(|table| table.name == section.table);
    ensure!(!section.columns.is_empty(), "{} in the backup has no columns", section.table);
    ensure!(
        section.columns.iter().all(|(_, kind)| TYPES.contains(&kind.as_str())),
        "{} in the backup has a column of an unknown type",
        section.table
    );
    place.with_context(|| format!("this identityd does not know the table {} of the backup", section.table))
}

impl Verification {
    /// Reads a block. Returns how many rows it has.
    fn read(&mut self, section: &Section, block: &[u8]) -> anyhow::Result<u64> {
        match section.table.as_str() {
            "log_head" => self.read_position(section, block),
            "organization_heads" => self.histories.read_heads(section, block),
            "signing_key_introductions" => self.keys.read(section, block),
            "checkpoints" => self.checkpoints.read(&self.keys, section, block),
            "events" => self.histories.read(&mut self.checkpoints, section, block),
            _ => count_rows(section, block),
        }
    }

    fn read_position(&mut self, section: &Section, block: &[u8]) -> anyhow::Result<u64> {
        let (columns, rows) = (Columns::of(section, ["position"]), rows_of(section, block)?);
        let count = rows.len() as u64;
        for row in rows {
            let [position] = columns.read(row)?;
            self.position = position.count()?;
        }
        Ok(count)
    }

    fn finish(
        self,
        head: BackupHead,
        sha256: String,
        are_signatures_checked: bool,
    ) -> anyhow::Result<Verified> {
        let events = self.histories.position();
        ensure!(
            events == self.position && events == head.events,
            "the backup has {events} events, its head of the log says {}",
            self.position
        );
        let counts = self.histories.counts().clone();
        let (organizations, faults) = self.histories.finish(self.checkpoints);
        let introductions = self.keys.into_introductions();
        Ok(Verified { head, sha256, organizations, counts, faults, are_signatures_checked, introductions })
    }
}
