//! The histories in a backup: each is verified as `audit verify` verifies an export, against the checkpoints beside it.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use identity_audit::line::Read;
use identity_audit::report::Fault;
use identity_audit::verify::history::History;
use identity_log::recorded::timestamp;
use identity_proof::envelope::Envelope;
use identity_proof::trailer::Trailer;
use identity_proof::{Checkpoint, Frontier, Hash, checkpoint};
use rayon::prelude::*;

use super::checkpoints::{Checkpoints, Epoch};
use super::fields::{Fields, rows_of};
use super::format::Section;

/// What was found out about an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its id.
    pub id: String,
    /// How many events it has.
    pub events: u64,
    /// How many of them its last checkpoint covers; 0 if it has none.
    pub signed: u64,
    /// How many of them are proved to be what was signed.
    pub proved: u64,
    /// The epoch of its last checkpoint; 0 if it has none.
    pub epoch: u64,
}

/// The histories, while events are read.
#[derive(Default)]
pub(super) struct Histories {
    /// How many events each organization has, as `organization_heads` says.
    heads: HashMap<String, u64>,
    open: HashMap<String, Open>,
    /// The position of the last event.
    position: u64,
}

/// A history, while events are read.
struct Open {
    history: Result<History, Fault>,
    epoch: u64,
    /// How many events the last checkpoint covers.
    signed: u64,
    events: u64,
    /// The first event whose leaf hash is not of its row. A new epoch may have signed the row as it is, so the signed root decides.
    altered: Option<u64>,
    /// What is wrong with its checkpoints.
    faults: Vec<String>,
}

impl Histories {
    /// The position of the last event.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Reads rows of `organization_heads`.
    pub(super) fn read_heads(&mut self, section: &Section, block: &[u8]) -> anyhow::Result<u64> {
        let rows = rows_of(section, block)?;
        let count = rows.len() as u64;
        for row in rows {
            let row = Fields::of(section, row)?;
            self.heads.insert(row.text("organization_id")?.to_owned(), row.count("sequence")?);
        }
        Ok(count)
    }

    /// Reads rows of `events`, which come by position. They are hashed on all cores.
    pub(super) fn read(
        &mut self,
        signed: &mut Checkpoints,
        section: &Section,
        block: &[u8],
    ) -> anyhow::Result<u64> {
        let rows = rows_of(section, block)?;
        let count = rows.len() as u64;
        let read: Vec<_> = rows
            .into_par_iter()
            .map_with(vec![], |text, row| Fields::of(section, row).and_then(|row| Event::of(&row, text)))
            .collect::<anyhow::Result<_>>()?;
        for event in read {
            self.position += 1;
            ensure!(
                event.position == self.position,
                "event {} of the log is not in the backup",
                self.position
            );
            self.take(event, signed)?;
        }
        Ok(count)
    }

    fn take(&mut self, event: Event<'_>, signed: &mut Checkpoints) -> anyhow::Result<()> {
        let Event { organization_id: id, read, is_as_written, .. } = event;
        if !self.open.contains_key(id) {
            self.open.insert(id.to_owned(), Open::begin(id, signed.take(id)));
        }
        let open = self.open.get_mut(id).context("a history is gone")?;
        open.events += 1;
        if let Ok(read) = &read
            && !is_as_written
        {
            open.altered.get_or_insert(read.event.organization_sequence);
        }
        if let Ok(history) = &mut open.history
            && let Err(fault) = history.take_next(read)
        {
            open.history = Err(fault);
        }
        Ok(())
    }

    /// The organizations by id, and what is wrong, with the organization.
    pub(super) fn finish(mut self, mut signed: Checkpoints) -> (Vec<Organization>, Vec<(String, String)>) {
        for id in self.heads.keys().cloned().chain(signed.left()) {
            self.open.entry(id).or_insert_with_key(|id| Open::begin(id, signed.take(id)));
        }
        let (mut organizations, mut faults) = (vec![], vec![]);
        for (id, open) in self.open {
            let head = self.heads.get(&id).copied().unwrap_or_default();
            if head != open.events {
                faults.push((id.clone(), format!("its head says {head} events, there are {}", open.events)));
            }
            let (organization, found) = open.finish(id);
            faults.extend(found.into_iter().map(|fault| (organization.id.clone(), fault)));
            organizations.push(organization);
        }
        organizations.sort_by(|one, other| one.id.cmp(&other.id));
        faults.sort();
        (organizations, faults)
    }
}

impl Open {
    /// A history without a checkpoint is compared with the root of no events, which every history continues.
    fn begin(id: &str, Epoch { number, mut checkpoints, faults }: Epoch) -> Self {
        let nothing =
            || Checkpoint { origin: checkpoint::origin(id, 1), size: 0, root: Frontier::default().root() };
        let last = checkpoints.pop().unwrap_or_else(nothing);
        let signed = last.size;
        let mut history = History::begin(last, None, &Trailer::of_range(0, None));
        if let Ok(history) = &mut history {
            history.compare_with(checkpoints);
        }
        Self { history, epoch: number, signed, events: 0, altered: None, faults }
    }

    fn finish(self, id: String) -> (Organization, Vec<String>) {
        let Self { history, epoch, signed, events, altered, mut faults } = self;
        let mut trailer = Trailer::of_range(0, None);
        if events > 0 {
            trailer.add(events, 1, events);
        }
        let (proved, fault) = match history.and_then(|history| history.finish(trailer)) {
            Ok(report) => (report.proved, None),
            Err(fault) => (0, Some(fault.what)),
        };
        let altered = altered.filter(|altered| fault.is_some() || *altered > signed);
        faults.extend(
            altered.map(|altered| format!("event {altered} is not the one that its leaf hash is of")),
        );
        faults.extend(fault);
        (Organization { id, events, signed, proved, epoch }, faults)
    }
}

/// An event of the backup.
struct Event<'a> {
    position: u64,
    organization_id: &'a str,
    /// The event, or why it cannot be read.
    read: Result<Read<'a>, String>,
    /// Whether the leaf hash that is stored beside it is of its row.
    is_as_written: bool,
}

impl<'a> Event<'a> {
    /// Reads a row. `text` is room for its canonical text.
    fn of(row: &Fields<'a>, text: &mut Vec<u8>) -> anyhow::Result<Self> {
        let (organization_id, sequence) =
            (row.text("organization_id")?, row.bigint("organization_sequence")?);
        let leaf = Hash(row.bytes("leaf_hash")?.try_into()?);
        let read = read(organization_id, sequence, row, text)
            .map_err(|error| format!("event {sequence} has no canonical form: {error:#}"));
        let is_as_written = read.as_ref().is_ok_and(|read| read.leaf == leaf);
        Ok(Self { position: row.count("position")?, organization_id, read, is_as_written })
    }
}

fn read<'a>(
    organization_id: &'a str,
    organization_sequence: i64,
    row: &Fields<'a>,
    text: &mut Vec<u8>,
) -> anyhow::Result<Read<'a>> {
    let envelope = Envelope {
        organization_id,
        organization_sequence,
        aggregate_type: row.text("aggregate_type")?,
        aggregate_id: row.text("aggregate_id")?,
        sequence: row.bigint("sequence")?,
        event_type: row.text("event_type")?,
        event_version: row.text("event_version")?,
        recorded_at: timestamp(row.timestamp("recorded_at")?).into(),
        payload: row.jsonb("payload")?,
        metadata: row.jsonb("metadata")?,
    };
    Read::of(envelope, text)
}
