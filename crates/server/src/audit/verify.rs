//! From an export alone to a verdict: no service, no database, nothing to be trusted but the verifier key.
//!
//! Lines are read and hashed on all cores, a batch at a time, and then held against each other in their order. Memory
//! grows with the number of aggregates, not of events.

mod source;

use std::collections::HashMap;
use std::path::Path;

use identity_proof::tree::check_consistency;
use identity_proof::{Checkpoint, Frontier, Hash, checkpoint};
use rayon::prelude::*;

use super::line::{self, Outline, Read, Trailer};
use source::Source;

/// What is wrong with an export, and where first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", .line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct Fault {
    /// The first bad line, from 1; none if it is not one line that is bad.
    pub line: Option<u64>,
    /// Organization sequence of the first bad event.
    pub sequence: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl Fault {
    fn file(what: impl Into<String>) -> Self {
        Self { line: None, sequence: None, what: what.into() }
    }
}

/// What was found to be right.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// How many events.
    pub events: u64,
    /// Organization sequence of the first.
    pub first: Option<u64>,
    /// Organization sequence of the last.
    pub last: Option<u64>,
    /// What they were held against.
    pub checkpoint: Checkpoint,
    /// What could not be verified, in plain words.
    pub unverified: Vec<String>,
}

/// Verifies an export against the key of its history, and against an earlier checkpoint of it.
pub fn file(
    path: &Path,
    verifier_key: &str,
    previous: Option<&str>,
    progress: impl FnMut(u64),
) -> Result<Report, Fault> {
    let (source, trailer) = Source::open(path)?;
    if trailer.filtered {
        return Err(Fault::file(
            "this file has some events of its range and not others: that proves nothing",
        ));
    }
    let note = trailer.checkpoint.as_deref();
    let note = note.ok_or_else(|| Fault::file("the trailer has no checkpoint"))?;
    let signed = Checkpoint::open(note, verifier_key).map_err(|error| Fault::file(error.to_string()))?;
    let previous = previous.map(|note| earlier(note, verifier_key, &signed)).transpose()?;
    let mut history = History::begin(signed, previous, &trailer)?;
    history.read(source, progress)?;
    history.finish(&trailer)
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

/// What is known of a history while its events come in.
struct History {
    organization_id: String,
    signed: Checkpoint,
    previous: Option<Checkpoint>,
    after: u64,
    lines: u64,
    /// None where the events before the first are not proved, so that no root can be computed.
    tree: Option<Frontier>,
    aggregates: HashMap<String, u64>,
    recorded_at: String,
    unverified: Vec<String>,
}

impl History {
    fn begin(signed: Checkpoint, previous: Option<Checkpoint>, trailer: &Trailer) -> Result<Self, Fault> {
        let organization_id = checkpoint::parse_origin(&signed.origin).map(|(id, _)| id.to_owned());
        let organization_id =
            organization_id.ok_or_else(|| Fault::file("the checkpoint is not of an organization"))?;
        let after = trailer.first.unwrap_or(1).saturating_sub(1);
        let tree = hashes(&trailer.before).and_then(|before| Frontier::resume(after, before).ok());
        let mut history = Self {
            organization_id,
            signed,
            previous,
            after,
            lines: 0,
            tree,
            aggregates: HashMap::new(),
            recorded_at: String::new(),
            unverified: vec![],
        };
        history.hold_previous_size()?;
        if after > 0 {
            history.unverified.push(format!("events 1 to {after} are not in this file"));
        }
        Ok(history)
    }

    fn hold_previous_size(&mut self) -> Result<(), Fault> {
        let Some(previous) = &self.previous else { return Ok(()) };
        if previous.size > self.signed.size {
            let what = format!(
                "event {} was signed in the earlier checkpoint and is missing: it has {} events, this one {}",
                self.signed.size + 1,
                previous.size,
                self.signed.size
            );
            return Err(Fault { line: None, sequence: Some(self.signed.size + 1), what });
        }
        if previous.size <= self.after && previous.size > 0 {
            let what =
                "whether this history begins with the earlier checkpoint's: that lies before the first event";
            self.unverified.push(what.to_owned());
        }
        Ok(())
    }

    fn read(&mut self, mut source: Source, mut progress: impl FnMut(u64)) -> Result<(), Fault> {
        while let Some(batch) = source.next_batch()? {
            let lines: Vec<&[u8]> =
                batch.strip_suffix(b"\n").unwrap_or(&batch).split(|byte| *byte == b'\n').collect();
            let read: Vec<Result<Read, String>> = lines.par_iter().map(|line| line::read(line)).collect();
            for read in read {
                self.lines += 1;
                let read = read.map_err(|what| self.fault(what))?;
                self.take(&read)?;
            }
            progress(self.lines);
        }
        Ok(())
    }

    /// A fault of the line that was read last.
    fn fault(&self, what: impl Into<String>) -> Fault {
        Fault { line: Some(self.lines), sequence: Some(self.after + self.lines), what: what.into() }
    }

    fn take(&mut self, read: &Read) -> Result<(), Fault> {
        self.hold_order(&read.event)?;
        if read.signed.is_some_and(|signed| signed != read.leaf) {
            let sequence = read.event.organization_sequence;
            return Err(self.fault(format!("event {sequence} is not the one that was signed")));
        }
        self.hold_aggregate(&read.event)?;
        let Some(tree) = &mut self.tree else { return Ok(()) };
        tree.append(read.leaf);
        let size = tree.size();
        let signed = [Some(&self.signed), self.previous.as_ref()].into_iter().flatten();
        let mut signed = signed.filter(|signed| signed.size == size).peekable();
        let root = signed.peek().map(|_| tree.root());
        if signed.any(|signed| Some(signed.root) != root) {
            return Err(self.fault(format!("the first {size} events are not those that were signed")));
        }
        Ok(())
    }

    fn hold_order(&mut self, event: &Outline) -> Result<(), Fault> {
        let (expected, found) = (self.after + self.lines, event.organization_sequence);
        if event.organization_id != self.organization_id {
            return Err(self.fault(format!("event of another organization, {}", event.organization_id)));
        }
        if found != expected {
            return Err(self.fault(format!("event {expected} is missing, event {found} stands in its place")));
        }
        if event.recorded_at < self.recorded_at {
            return Err(self.fault(format!("event {found} was recorded before the one that precedes it")));
        }
        self.recorded_at.clone_from(&event.recorded_at);
        Ok(())
    }

    /// An aggregate's first event may lie before the first of the file, but only there.
    fn hold_aggregate(&mut self, event: &Outline) -> Result<(), Fault> {
        let Outline { aggregate_type, aggregate_id, sequence, .. } = event;
        let name = format!("{aggregate_type} {aggregate_id}");
        let before = self.aggregates.get(&name).copied();
        let expected = before.map_or(if self.after == 0 { 1 } else { *sequence }, |before| before + 1);
        if *sequence != expected {
            let what = format!("event {expected} of {name} is missing, its event {sequence} stands here");
            return Err(self.fault(what));
        }
        self.aggregates.insert(name, *sequence);
        Ok(())
    }

    /// What can only be said when all lines are read.
    fn finish(mut self, trailer: &Trailer) -> Result<Report, Fault> {
        let last = self.after + self.lines;
        let (first, last_event) =
            if self.lines == 0 { (None, None) } else { (Some(self.after + 1), Some(last)) };
        if (trailer.count, trailer.first, trailer.last) != (self.lines, first, last_event) {
            let what = format!("the trailer speaks of {} events, there are {}", trailer.count, self.lines);
            return Err(Fault { line: Some(self.lines + 1), sequence: None, what });
        }
        if last < self.signed.size {
            self.hold_rest(last, trailer)?;
        }
        if last > self.signed.size {
            let first = self.signed.size.max(self.after) + 1;
            self.unverified.push(format!("events {first} to {last}: the checkpoint does not cover them"));
        }
        if self.tree.is_none() {
            self.unverified
                .push("whether these are the events that were signed: the trailer does not prove it".into());
        }
        if self.previous.as_ref().is_some_and(|previous| previous.size > last) {
            let what =
                "whether this history begins with the earlier checkpoint's: that lies after the last event";
            self.unverified.push(what.to_owned());
        }
        let Self { signed: checkpoint, lines: events, unverified, .. } = self;
        Ok(Report { events, first, last: last_event, checkpoint, unverified })
    }

    /// The checkpoint covers more than the file: by request, which the trailer proves, or because events are missing.
    fn hold_rest(&mut self, last: u64, trailer: &Trailer) -> Result<(), Fault> {
        let missing = |what: String| Fault { line: Some(self.lines + 1), sequence: Some(last + 1), what };
        if trailer.consistency.is_empty() {
            return Err(missing(format!("event {} was signed and is missing", last + 1)));
        }
        let proof =
            hashes(&trailer.consistency).ok_or_else(|| missing("the trailer's proof is none".to_owned()))?;
        if let Some(tree) = &self.tree {
            let whole = (self.signed.size, self.signed.root);
            check_consistency(&proof, (last, tree.root()), whole)
                .map_err(|_| missing(format!("the first {last} events are not those that were signed")))?;
        }
        self.unverified.push(format!("events {} to {} are not in this file", last + 1, self.signed.size));
        Ok(())
    }
}

fn hashes(texts: &[String]) -> Option<Vec<Hash>> {
    texts.iter().map(|text| Hash::parse_hash(text).ok()).collect()
}
