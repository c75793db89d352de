//! The histories in a backup: each is verified as `audit verify` verifies an export, against the checkpoints beside it.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use identity_audit::line::Read;
use identity_audit::report::Fault;
use identity_audit::verify::history::History;
use identity_log::count::EventCounts;
use identity_log::recorded::timestamp;
use identity_proof::envelope::Envelope;
use identity_proof::trailer::Trailer;
use identity_proof::{Checkpoint, Frontier, Hash, checkpoint};
use rayon::prelude::*;

use super::checkpoints::{Checkpoints, Epoch};
use super::fields::{Columns, Field, rows_of};
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
    open: Vec<Open>,
    /// The place of each organization in `open`.
    places: HashMap<String, usize>,
    /// The place of the organization of the last event. Most often it is that of the next event, too.
    last: usize,
    counts: EventCounts,
    /// The position of the last event.
    position: u64,
}

/// A history, while events are read.
struct Open {
    organization_id: String,
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
        let columns = Columns::of(section, ["organization_id", "sequence"]);
        let rows = rows_of(section, block)?;
        let count = rows.len() as u64;
        for row in rows {
            let [organization_id, sequence] = columns.read(row)?;
            self.heads.insert(organization_id.text()?.to_owned(), sequence.count()?);
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
        let (columns, rows) = (Columns::of(section, COLUMNS), rows_of(section, block)?);
        let count = rows.len() as u64;
        let read: Vec<anyhow::Result<EventRow<'_>>> = rows
            .into_par_iter()
            .map_with(vec![], |text, row| columns.read(row).and_then(|row| EventRow::of(&row, text)))
            .collect();
        for event in read {
            self.take(event?, signed)?;
        }
        Ok(count)
    }

    fn take(&mut self, event: EventRow<'_>, signed: &mut Checkpoints) -> anyhow::Result<()> {
        self.position += 1;
        ensure!(event.position == self.position, "event {} of the log is not in the backup", self.position);
        self.counts.add(event.aggregate_type, event.event_type);
        let open = self.open(event.organization_id, signed).context("a history is gone")?;
        open.take(event.read, event.is_as_written);
        Ok(())
    }

    /// The history of an organization.
    fn open(&mut self, id: &str, signed: &mut Checkpoints) -> Option<&mut Open> {
        if self.open.get(self.last).is_none_or(|last| last.organization_id != id) {
            self.last = if let Some(place) = self.places.get(id) {
                *place
            } else {
                self.open.push(Open::begin(id, signed.take(id)));
                self.places.insert(id.to_owned(), self.open.len() - 1);
                self.open.len() - 1
            };
        }
        self.open.get_mut(self.last)
    }

    /// How many events there are of each type.
    pub(super) fn counts(&self) -> &EventCounts {
        &self.counts
    }

    /// The organizations by id, and what is wrong, with the organization.
    pub(super) fn finish(mut self, mut signed: Checkpoints) -> (Vec<Organization>, Vec<(String, String)>) {
        for id in self.heads.keys().cloned().chain(signed.left()).collect::<Vec<_>>() {
            self.open(&id, &mut signed);
        }
        let (mut organizations, mut faults) = (vec![], vec![]);
        for open in self.open {
            let id = open.organization_id.clone();
            let head = self.heads.get(&id).copied().unwrap_or_default();
            if head != open.events {
                faults.push((id.clone(), format!("its head says {head} events, there are {}", open.events)));
            }
            let (organization, found) = open.finish();
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
        let organization_id = id.to_owned();
        Self { organization_id, history, epoch: number, signed, events: 0, altered: None, faults }
    }

    fn take(&mut self, read: Result<Read<'_>, String>, is_as_written: bool) {
        self.events += 1;
        if let Ok(read) = &read
            && !is_as_written
        {
            self.altered.get_or_insert(read.event.organization_sequence);
        }
        if let Ok(history) = &mut self.history
            && let Err(fault) = history.take_next(read)
        {
            self.history = Err(fault);
        }
    }

    fn finish(self) -> (Organization, Vec<String>) {
        let Self { organization_id: id, history, epoch, signed, events, altered, mut faults } = self;
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

/// The columns of `events` that are read.
const COLUMNS: [&str; 12] = [
    "position",
    "organization_id",
    "organization_sequence",
    "aggregate_type",
    "aggregate_id",
    "sequence",
    "event_type",
    "event_version",
    "recorded_at",
    "payload",
    "metadata",
    "leaf_hash",
];

/// An event of the backup.
struct EventRow<'a> {
    position: u64,
    organization_id: &'a str,
    aggregate_type: &'a str,
    event_type: &'a str,
    /// The event, or why it cannot be read.
    read: Result<Read<'a>, String>,
    /// Whether the leaf hash that is stored beside it is of its row.
    is_as_written: bool,
}

impl<'a> EventRow<'a> {
    /// Reads a row. `text` is room for its canonical text.
    fn of(row: &[Field<'a>; COLUMNS.len()], text: &mut Vec<u8>) -> anyhow::Result<Self> {
        let [position, organization_id, place, aggregate_type, aggregate_id, rest @ ..] = *row;
        let [sequence, event_type, event_version, recorded_at, payload, metadata, leaf_hash] = rest;
        let (organization_id, organization_sequence) = (organization_id.text()?, place.bigint()?);
        let (aggregate_type, event_type) = (aggregate_type.text()?, event_type.text()?);
        let leaf = Hash(leaf_hash.bytes()?.try_into()?);
        let envelope = || -> anyhow::Result<_> {
            Ok(Envelope {
                organization_id,
                organization_sequence,
                aggregate_type,
                aggregate_id: aggregate_id.text()?,
                sequence: sequence.bigint()?,
                event_type,
                event_version: event_version.text()?,
                recorded_at: timestamp(recorded_at.timestamp()?).into(),
                payload: payload.jsonb()?,
                metadata: metadata.jsonb()?,
            })
        };
        let read = envelope()
            .and_then(|envelope| Read::of(envelope, text))
            .map_err(|error| format!("event {organization_sequence} has no canonical form: {error:#}"));
        let is_as_written = read.as_ref().is_ok_and(|read| read.leaf == leaf);
        Ok(Self {
            position: position.count()?,
            organization_id,
            aggregate_type,
            event_type,
            read,
            is_as_written,
        })
    }
}
