//! What an identity was after each of its events, and who made it so: from an export, or from the database.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, bail};
use identity_domain::{Handle, Kind};
use identity_log::history::{History, Query};
use identity_log::{Metadata, Recorded, codec};
use identity_projections::document::IdentityDocument;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::line::{Envelope, TRAILER_START};

/// An event and what it made of the identity.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// The event.
    pub event: Envelope,
    /// Who caused it.
    pub actor: String,
    /// The identity after it; none once it is deleted.
    pub state: Option<Value>,
    /// Which of its fields are not what they were, as JSON pointers.
    pub changed: Vec<String>,
}

/// Replays an identity, given by its id or by any handle that it ever had, from an export.
pub fn file(path: &Path, identity: &str, until: Option<OffsetDateTime>) -> anyhow::Result<Vec<Step>> {
    let id = only_one(identity, named(identity, lines(path)?)?)?;
    let events = lines(path)?.filter(|event| event.as_ref().map_or(true, |event| is_of(event, &id)));
    steps(events.collect::<anyhow::Result<_>>()?, until)
}

/// The same from the database.
pub async fn database(
    pool: &PgPool,
    organization_id: &str,
    identity: &str,
    until: Option<OffsetDateTime>,
) -> anyhow::Result<Vec<Step>> {
    let all = Query { kind: Some(Kind::Identity), ..Query::range(organization_id, 0, i64::MAX) };
    let with_handles = ["identity.created", "identity.renamed"].map(str::to_owned).to_vec();
    let births = read(pool, &Query { event_types: Some(with_handles), ..all.clone() }).await?;
    let id = only_one(identity, named(identity, births.into_iter().map(Ok))?)?;
    let events = read(pool, &Query { aggregate_ids: Some(vec![id]), ..all }).await?;
    steps(events, until)
}

async fn read(pool: &PgPool, query: &Query) -> anyhow::Result<Vec<Envelope>> {
    let mut connection = pool.acquire().await?;
    let mut history = History::begin(&mut connection, query);
    let mut events = vec![];
    while let Some(entry) = history.next().await? {
        events.push(Envelope::of(&entry)?);
    }
    Ok(events)
}

/// The events of an export; its trailer is none.
fn lines(path: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Envelope>>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let lines = BufReader::new(file).split(b'\n').zip(1..);
    let events = lines.map(|(line, number)| {
        let line = line.context("cannot read on")?;
        if line.starts_with(TRAILER_START) {
            return Ok(None);
        }
        let mut members: serde_json::Map<String, Value> =
            serde_json::from_slice(&line).with_context(|| format!("line {number} is no event"))?;
        members.remove("leaf_hash");
        let event = serde_json::from_value(Value::Object(members));
        event.map(Some).with_context(|| format!("line {number} is no event"))
    });
    Ok(events.filter_map(Result::transpose))
}

fn is_of(event: &Envelope, id: &str) -> bool {
    event.aggregate_type == "identity" && event.aggregate_id == id
}

/// Ids of the identities that are meant.
fn named(
    identity: &str,
    events: impl Iterator<Item = anyhow::Result<Envelope>>,
) -> anyhow::Result<BTreeSet<String>> {
    if let Ok(id) = identity.parse::<Uuid>() {
        return Ok(BTreeSet::from([id.to_string()]));
    }
    let handle =
        Handle::parse(identity).with_context(|| format!("{identity} is neither a handle nor an id"))?;
    let had_it = |event: &Envelope| {
        event.aggregate_type == "identity"
            && event.payload.get("agent_handle").and_then(Value::as_str) == Some(handle.as_str())
    };
    let mut ids = BTreeSet::new();
    for event in events {
        let event = event?;
        if had_it(&event) {
            ids.insert(event.aggregate_id);
        }
    }
    Ok(ids)
}

fn only_one(identity: &str, ids: BTreeSet<String>) -> anyhow::Result<String> {
    let mut ids = ids.into_iter();
    match (ids.next(), ids.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => bail!("no identity was ever called {identity}"),
        (Some(first), Some(second)) => {
            let all: Vec<String> = [first, second].into_iter().chain(ids).collect();
            bail!("more than one identity was called {identity}; give an id: {}", all.join(", "))
        }
    }
}

fn steps(events: Vec<Envelope>, until: Option<OffsetDateTime>) -> anyhow::Result<Vec<Step>> {
    let mut document = None;
    let mut before = BTreeMap::new();
    let mut steps = Vec::with_capacity(events.len());
    for event in events {
        let recorded = recorded(&event)?;
        if until.is_some_and(|until| recorded.recorded_at > until) {
            break;
        }
        document = IdentityDocument::fold(document, &recorded);
        let state = document.as_ref().map(serde_json::to_value).transpose()?;
        let fields = state.as_ref().map(fields).unwrap_or_default();
        let differs = |pointer: &&String| fields.get(*pointer) != before.get(*pointer);
        let changed: BTreeSet<String> = fields.keys().chain(before.keys()).filter(differs).cloned().collect();
        let actor = event.metadata.get("actor").and_then(Value::as_str).unwrap_or("unknown").to_owned();
        steps.push(Step { event, actor, state, changed: changed.into_iter().collect() });
        before = fields;
    }
    Ok(steps)
}

fn recorded(event: &Envelope) -> anyhow::Result<Recorded> {
    let what = || format!("event {} cannot be read", event.organization_sequence);
    let Envelope { aggregate_type, event_type, event_version, .. } = event;
    let decoded = codec::decode(aggregate_type, event_type, event_version, event.payload.clone());
    Ok(Recorded {
        position: 0,
        organization_id: event.organization_id.clone(),
        organization_sequence: event.organization_sequence,
        aggregate_id: event.aggregate_id.clone(),
        sequence: event.sequence,
        event: decoded.with_context(what)?,
        metadata: Metadata::default(),
        recorded_at: OffsetDateTime::parse(&event.recorded_at, &Rfc3339).with_context(what)?,
    })
}

/// Every value that is neither an object nor a list of its own, by its JSON pointer.
pub fn fields(state: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut open = vec![(String::new(), state)];
    while let Some((pointer, value)) = open.pop() {
        match value.as_object().filter(|members| !members.is_empty()) {
            Some(members) => {
                open.extend(members.iter().map(|(name, value)| (format!("{pointer}/{name}"), value)));
            }
            None => {
                found.insert(pointer, value.clone());
            }
        }
    }
    found
}
