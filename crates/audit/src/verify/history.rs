//! The state of a verification while events are read, and the report at the end.

use std::collections::{HashMap, VecDeque};

use identity_proof::trailer::Trailer;
use identity_proof::tree::MAX_LEAVES;
use identity_proof::{Checkpoint, Frontier, Hash, checkpoint};

use super::claim::RootClaim;
use crate::cores::on_all_cores;
use crate::line::{self, Outline, Read};
use crate::report::{Fault, Report};
use crate::source::{self, Source};

/// A history whose events are being compared.
pub struct History {
    organization_id: String,
    signed: RootClaim,
    previous: Option<RootClaim>,
    /// Further checkpoints of the same epoch, the smaller ones first. Those whose size the events have reached were
    /// compared and removed.
    others: VecDeque<RootClaim>,
    after: u64,
    /// Organization sequence of the last event, or of the one that the range begins after.
    last: u64,
    first: Option<u64>,
    lines: u64,
    /// Whether a filter left events out, so that gaps are no fault.
    is_filtered: bool,
    /// None if there are no hashes for the events before the first, so that no root can be computed.
    tree: Option<Frontier>,
    aggregates: HashMap<String, u64>,
    /// The name of the aggregate that was looked up last. It is kept for its memory.
    name: String,
    recorded_at: String,
}

impl History {
    /// Begins with the checkpoints that the events are compared with, and what the trailer says of them.
    pub fn begin(signed: Checkpoint, previous: Option<Checkpoint>, trailer: &Trailer) -> Result<Self, Fault> {
        let organization_id = checkpoint::parse_origin(&signed.origin).map(|(id, _)| id.to_owned());
        let organization_id =
            organization_id.ok_or_else(|| Fault::file("the checkpoint is not of an organization"))?;
        let after = trailer.after.unwrap_or_else(|| trailer.first.unwrap_or(1).saturating_sub(1));
        if after.max(signed.size) > MAX_LEAVES {
            return Err(Fault::file("the trailer says more events than there can be"));
        }
        let before = hashes(&trailer.before).filter(|_| !trailer.filtered);
        let mut history = Self {
            organization_id,
            signed: RootClaim::new(signed),
            previous: previous.map(RootClaim::new),
            others: VecDeque::new(),
            after,
            last: after,
            first: None,
            lines: 0,
            is_filtered: trailer.filtered,
            tree: before.and_then(|before| Frontier::resume(after, before).ok()),
            aggregates: HashMap::new(),
            name: String::new(),
            recorded_at: String::new(),
        };
        history.check_previous()?;
        history.check_roots()?;
        Ok(history)
    }

    /// Compares the events with these checkpoints as well. They are of the same epoch, the smaller ones come first, and
    /// none is smaller than the number of events taken so far.
    pub fn compare_with(&mut self, checkpoints: impl IntoIterator<Item = Checkpoint>) {
        self.others.extend(checkpoints.into_iter().map(RootClaim::new));
    }

    /// Compares the two checkpoints with each other.
    fn check_previous(&mut self) -> Result<(), Fault> {
        let Some(previous) = &mut self.previous else { return Ok(()) };
        if previous.size() > self.signed.size() {
            let (missing, more) = (self.signed.size() + 1, previous.size());
            let what = format!(
                "event {missing} was signed in the earlier checkpoint and is missing: it has {more} events, this one {}",
                self.signed.size()
            );
            return Err(Fault { line: None, sequence: Some(missing), what });
        }
        previous.hold_other(&self.signed).map_err(|contradiction| contradiction.fault(None))
    }

    pub(super) fn read(&mut self, mut source: Source, mut progress: impl FnMut(u64)) -> Result<(), Fault> {
        while let Some(batch) = source.next_batch()? {
            let lines: Vec<&[u8]> = source::lines_of(&batch).collect();
            for read in on_all_cores(&lines, |line| line::read(line)) {
                self.take_next(read)?;
            }
            progress(self.lines);
        }
        Ok(())
    }

    /// A fault of the line that was read last.
    fn fault(&self, what: impl Into<String>) -> Fault {
        Fault { line: Some(self.lines), sequence: Some(self.last + 1), what: what.into() }
    }

    /// Takes the next event, or the reason why it cannot be read.
    pub fn take_next(&mut self, read: Result<Read<'_>, String>) -> Result<(), Fault> {
        self.lines += 1;
        let read = read.map_err(|what| self.fault(what))?;
        self.take(&read)
    }

    fn take(&mut self, read: &Read<'_>) -> Result<(), Fault> {
        self.check_order(&read.event)?;
        let sequence = read.event.organization_sequence;
        if read.signed.is_some_and(|signed| signed != read.leaf) {
            return Err(Fault {
                sequence: Some(sequence),
                ..self.fault(format!("event {sequence} is not the one that was signed"))
            });
        }
        self.check_aggregate(&read.event)?;
        self.first.get_or_insert(sequence);
        self.last = sequence;
        if let Some(tree) = &mut self.tree {
            tree.append(read.leaf);
        }
        self.check_roots()
    }

    fn check_roots(&mut self) -> Result<(), Fault> {
        let Some(tree) = &self.tree else { return Ok(()) };
        let line = (self.lines > 0).then_some(self.lines);
        for claim in [Some(&mut self.signed), self.previous.as_mut()].into_iter().flatten() {
            claim.hold(tree).map_err(|contradiction| contradiction.fault(line))?;
        }
        while let Some(mut claim) = self.others.pop_front_if(|claim| claim.size() <= tree.size()) {
            claim.hold(tree).map_err(|contradiction| contradiction.fault(line))?;
        }
        Ok(())
    }

    fn check_order(&mut self, event: &Outline<'_>) -> Result<(), Fault> {
        let (expected, found) = (self.last + 1, event.organization_sequence);
        if event.organization_id != self.organization_id {
            return Err(self.fault(format!("event of another organization, {}", event.organization_id)));
        }
        let is_in_place = if self.is_filtered { found >= expected } else { found == expected };
        if !is_in_place || found > MAX_LEAVES {
            return Err(self.fault(format!("event {expected} is missing, event {found} stands in its place")));
        }
        if *event.recorded_at < *self.recorded_at {
            return Err(self.fault(format!("event {found} was recorded before the one that precedes it")));
        }
        self.recorded_at.clear();
        self.recorded_at.push_str(&event.recorded_at);
        Ok(())
    }

    /// Checks that no event of the aggregate is missing. Only in an export that begins later may the earlier ones be
    /// absent.
    fn check_aggregate(&mut self, event: &Outline<'_>) -> Result<(), Fault> {
        if self.is_filtered {
            return Ok(());
        }
        let Outline { aggregate_type, aggregate_id, sequence, .. } = event;
        self.name.clear();
        self.name.extend([&**aggregate_type, " ", &**aggregate_id]);
        let before = self.aggregates.get_mut(&self.name);
        let expected =
            before.as_ref().map_or(if self.after == 0 { 1 } else { *sequence }, |before| **before + 1);
        if *sequence != expected {
            let name = &self.name;
            let what = format!("event {expected} of {name} is missing, its event {sequence} stands here");
            return Err(self.fault(what));
        }
        match before {
            Some(before) => *before = *sequence,
            None => drop(self.aggregates.insert(self.name.clone(), *sequence)),
        }
        Ok(())
    }

    /// The checks that need all lines.
    pub fn finish(mut self, trailer: Trailer) -> Result<Report, Fault> {
        let last = self.first.map(|_| self.last);
        if (trailer.count, trailer.first, trailer.last) != (self.lines, self.first, last) {
            let what = format!("the trailer says {} events, the file has {}", trailer.count, self.lines);
            return Err(self.end(None, what));
        }
        let mut unproved = vec![];
        if !self.is_filtered {
            unproved.extend(self.check_end(&trailer)?);
            self.check_rest(&trailer)?;
        }
        unproved.extend(self.unproved_event());
        unproved.extend(self.unproved_previous());
        unproved.extend(trailer.refused.as_deref().map(unproved_end));
        Ok(Report {
            events: self.lines,
            proved: self.proved(),
            after: self.after,
            first: self.first,
            last,
            absent: self.absent(),
            checkpoint: self.signed.checkpoint,
            note: trailer.checkpoint.unwrap_or_default(),
            signed_at: None,
            witnessed: vec![],
            successor: None,
            unproved,
            refused: trailer.refused,
            unsigned: trailer.unsigned.unwrap_or_default(),
        })
    }

    /// A fault of the trailer.
    fn end(&self, sequence: Option<u64>, what: String) -> Fault {
        Fault { line: Some(self.lines + 1), sequence, what }
    }

    /// Checks that the events reach the end of the range. Without a given end, that is the size of the checkpoint.
    fn check_end(&self, trailer: &Trailer) -> Result<Option<Fault>, Fault> {
        let (next, size) = (self.last + 1, self.signed.size());
        let missing =
            |what: &str| self.end(Some(next), format!("event {next} was signed and is missing{what}"));
        match trailer.until {
            Some(until) if self.last > until => {
                Err(self.end(None, format!("only events up to {until} were asked for, there are more")))
            }
            Some(until) if self.last < until.min(size) => Err(missing("")),
            None if self.last < size && trailer.consistency.is_empty() => Err(missing("")),
            None if self.last < size => {
                Ok(Some(missing(", unless only a part was asked for: the trailer does not say")))
            }
            _ => Ok(None),
        }
    }

    /// If the checkpoint covers more than the file, checks the proof that the checkpoint continues these events.
    fn check_rest(&mut self, trailer: &Trailer) -> Result<(), Fault> {
        let (Some(tree), Some(proof)) = (&self.tree, hashes(&trailer.consistency)) else { return Ok(()) };
        if self.lines == 0 || proof.is_empty() || self.last >= self.signed.size() {
            return Ok(());
        }
        let line = Some(self.lines + 1);
        self.signed.hold_beyond(tree, &proof).map_err(|contradiction| contradiction.fault(line))
    }

    fn proved(&self) -> u64 {
        if self.signed.is_held { self.last.min(self.signed.size()).saturating_sub(self.after) } else { 0 }
    }

    /// A file without events proves nothing about its range, unless the range begins at the end of the checkpoint.
    fn unproved_emptiness(&self) -> Option<Fault> {
        let is_proved = !self.is_filtered && self.after == self.signed.size();
        (self.lines == 0 && !is_proved)
            .then(|| Fault::file("that there are no events in this range is not proved"))
    }

    /// The first event that no compared root covers, and why.
    fn unproved_event(&self) -> Option<Fault> {
        let place = self.proved() + 1;
        if place > self.lines {
            return self.unproved_emptiness();
        }
        let size = self.signed.size();
        let why = if self.is_filtered {
            "a filter left events out, so it is proved neither that these are what was signed, nor that no other event \
             matched the filter"
                .to_owned()
        } else if self.after + place > size {
            format!("the checkpoint covers {size} events")
        } else if self.tree.is_none() {
            "the trailer has no hashes of the events before the first, or wrong ones".to_owned()
        } else {
            "the trailer has no proof that the checkpoint continues these events".to_owned()
        };
        let sequence = if self.is_filtered { self.first? } else { self.after + place };
        let what = format!("event {sequence} is not proved, nor is any after it: {why}");
        Some(Fault { line: Some(place), sequence: Some(sequence), what })
    }

    fn unproved_previous(&self) -> Option<Fault> {
        let previous = self.previous.as_ref().filter(|previous| !previous.is_held)?;
        let size = previous.size();
        let why = if size < self.after {
            "that checkpoint is of events before the first event of this file"
        } else if size > self.last {
            "that checkpoint covers events after the last event of this file"
        } else {
            "these events are not proved themselves"
        };
        let what = format!(
            "whether this history begins with the earlier checkpoint's {size} events is not proved: {why}"
        );
        Some(Fault::file(what))
    }

    /// Runs of signed events that are not in the file. Unknown if the file was filtered.
    fn absent(&self) -> Vec<(u64, u64)> {
        let runs = [(1, self.after), (self.last + 1, self.signed.size())];
        runs.into_iter().filter(|(first, last)| !self.is_filtered && first <= last).collect()
    }
}

/// A log that the signer refuses may have lost signed events, and its new events are not signed.
fn unproved_end(why: &str) -> Fault {
    Fault::file(format!(
        "that this is all of the history is not proved: the service does not sign it any more: {why}"
    ))
}

fn hashes(texts: &[String]) -> Option<Vec<Hash>> {
    texts.iter().map(|text| Hash::parse_hash(text).ok()).collect()
}
