//! Shows the state of an identity after each of its events, and who caused the event: from an export, or from the
//! database.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use identity_audit::events;
use identity_audit::line::Envelope;
use identity_domain::{Event, Handle, Kind, identity};
use identity_log::history::{History, Query};
use identity_log::{Metadata, Recorded, codec};
use identity_projections::Projection as _;
use identity_projections::document::IdentityDocument;
use identity_projections::identities::{Identities, Row};
use identity_projections::vault_access::{Rules, VaultAccess};
use identity_projections::visibility::{Rows, VisibilityRows, oldest_first};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::export::envelope;

/// The history of an identity, as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// Its events, in order.
    pub steps: Vec<Step>,
    /// Why events of the identity may be missing, if they may.
    pub doubt: Option<String>,
}

/// An event, and the identity after it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// The event.
    pub event: Envelope,
    /// Who caused it.
    pub actor: String,
    /// Whether the identity existed after it.
    pub presence: Presence,
    /// The identity after it, with who may see it and which secrets it may use; none if it did not exist.
    pub state: Option<Value>,
    /// The fields that the event changed, as JSON pointers.
    pub changed: Vec<String>,
}

/// Whether an identity existed after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It existed.
    Present,
    /// It was deleted.
    Gone,
    /// It existed, but the event that created it is not in the file, so its state is unknown.
    Unknown,
}

/// Replays an identity, given by its id or by any handle that it ever had, from an export. It does not check
/// signatures: [`verify`](identity_audit::verify) does.
pub fn file(path: &Path, identity: &str, until: Option<OffsetDateTime>) -> anyhow::Result<Replay> {
    let mut ids = BTreeSet::new();
    let wanted = IdentityName::parse(identity)?;
    let trailer = events::read(path, |event| ids.extend(wanted.id_of(&event)))?;
    let doubt = events::doubt(&trailer);
    let id = only_one(identity, ids, doubt.is_none())?;
    let mut taken = vec![];
    events::read(path, |event| {
        if is_of(&event, &id) {
            taken.push(event);
        }
    })?;
    let begins_late = trailer.filtered || events::first_place(&trailer) > 1;
    Ok(Replay { steps: steps(dense(taken, begins_late)?, until)?, doubt })
}

/// Replays an identity, given by its id or by any handle that it ever had, from the database.
pub async fn database(
    pool: &PgPool,
    organization_id: &str,
    identity: &str,
    until: Option<OffsetDateTime>,
) -> anyhow::Result<Replay> {
    let all = Query { kind: Some(Kind::Identity), ..Query::range(organization_id, 0, i64::MAX) };
    let with_handles = ["identity.created", "identity.renamed"].map(str::to_owned).to_vec();
    let wanted = IdentityName::parse(identity)?;
    let births = read(pool, &Query { event_types: Some(with_handles), ..all.clone() }).await?;
    let id = only_one(identity, births.iter().filter_map(|event| wanted.id_of(event)).collect(), true)?;
    let events = read(pool, &Query { aggregate_ids: Some(vec![id]), ..all }).await?;
    Ok(Replay { steps: steps(dense(events, false)?, until)?, doubt: None })
}

async fn read(pool: &PgPool, query: &Query) -> anyhow::Result<Vec<Envelope>> {
    let mut connection = pool.acquire().await?;
    let mut history = History::begin(&mut connection, query);
    let mut events = vec![];
    while let Some(entry) = history.next().await? {
        events.push(envelope(&entry)?);
    }
    Ok(events)
}

fn is_of(event: &Envelope, id: &str) -> bool {
    event.aggregate_type == "identity" && event.aggregate_id == id
}

/// The identity that is asked for.
enum IdentityName {
    Id(String),
    Handle(Handle),
}

impl IdentityName {
    fn parse(identity: &str) -> anyhow::Result<Self> {
        if let Ok(id) = identity.parse::<Uuid>() {
            return Ok(Self::Id(id.to_string()));
        }
        let handle =
            Handle::parse(identity).with_context(|| format!("{identity} is neither a handle nor an id"))?;
        Ok(Self::Handle(handle))
    }

    /// The id of the identity of an event, if it is the one that is asked for.
    fn id_of(&self, event: &Envelope) -> Option<String> {
        let is_meant = match self {
            Self::Id(id) => is_of(event, id),
            Self::Handle(handle) => {
                event.aggregate_type == "identity"
                    && event.payload.get("agent_handle").and_then(Value::as_str) == Some(handle.as_str())
            }
        };
        is_meant.then(|| event.aggregate_id.clone())
    }
}

fn only_one(identity: &str, ids: BTreeSet<String>, is_whole: bool) -> anyhow::Result<String> {
    let mut ids = ids.into_iter();
    match (ids.next(), ids.next()) {
        (Some(id), None) => Ok(id),
        (None, _) if is_whole => bail!("no identity was ever called {identity}"),
        (None, _) => bail!("no identity was called {identity} in this file, which is a part of the history"),
        (Some(first), Some(second)) => {
            let all: Vec<String> = [first, second].into_iter().chain(ids).collect();
            bail!("more than one identity was called {identity}; give an id: {}", all.join(", "))
        }
    }
}

/// The events, if none between them is missing. Only in a part of a history may the first one be missing.
fn dense(events: Vec<Envelope>, begins_late: bool) -> anyhow::Result<Vec<Envelope>> {
    let first = events.first().map_or(1, |event| if begins_late { event.sequence } else { 1 });
    for (expected, event) in (first..).zip(&events) {
        let Envelope { aggregate_id, sequence, organization_sequence, .. } = event;
        ensure!(
            *sequence == expected,
            "event {expected} of identity {aggregate_id} is missing: its event {sequence} is event {organization_sequence} of the history"
        );
    }
    Ok(events)
}

/// The state of an identity: its document and tunnel, who may see it, and which secrets it may use.
#[derive(Debug, Default)]
struct Life {
    row: Option<Row>,
    viewers: Option<Rows>,
    secrets: Option<Rules>,
}

/// The state of an identity as it is shown.
#[derive(Debug, Serialize)]
struct State<'a> {
    #[serde(flatten)]
    document: &'a IdentityDocument,
    access: Vec<Value>,
    /// The text as the client wrote it: a JSON value would lose the order of members and the digits of large numbers.
    tunnel_metadata: &'a str,
    vault_secret_ids: Vec<&'a Uuid>,
}

impl Life {
    fn evolve(&mut self, recorded: &Recorded) {
        self.row = Identities::fold(self.row.take(), recorded);
        self.viewers = VisibilityRows::fold(self.viewers.take(), recorded);
        self.secrets = VaultAccess::fold(self.secrets.take(), recorded);
    }

    /// The document as the API answers it, with further state that the API answers at other paths. Access rows of
    /// deleted viewers stay, since no event of this identity tells of their deletion.
    fn state(&self) -> anyhow::Result<Option<Value>> {
        let Some(Row { document, tunnel_metadata, .. }) = &self.row else { return Ok(None) };
        let rows = self.viewers.iter().flat_map(oldest_first);
        let access = rows.map(|row| Ok(serde_json::from_str(&row.document(document.id)?)?));
        let access: Vec<Value> = access.collect::<anyhow::Result<_>>()?;
        let vault_secret_ids = self.secrets.iter().flat_map(Rules::keys).collect();
        let state = State { document, access, tunnel_metadata, vault_secret_ids };
        Ok(Some(serde_json::to_value(state)?))
    }
}

fn steps(events: Vec<Envelope>, until: Option<OffsetDateTime>) -> anyhow::Result<Vec<Step>> {
    let mut life = Life::default();
    let mut before = BTreeMap::new();
    let mut steps = Vec::with_capacity(events.len());
    for event in events {
        let recorded = recorded(&event)?;
        if until.is_some_and(|until| recorded.recorded_at > until) {
            break;
        }
        life.evolve(&recorded);
        let state = life.state()?;
        let fields = state.as_ref().map(fields).unwrap_or_default();
        let differs = |pointer: &&String| fields.get(*pointer) != before.get(*pointer);
        let changed: BTreeSet<String> = fields.keys().chain(before.keys()).filter(differs).cloned().collect();
        let actor = event.metadata.get("actor").and_then(Value::as_str).unwrap_or("unknown").to_owned();
        let presence = presence(&recorded, state.is_some());
        steps.push(Step { event, actor, presence, state, changed: changed.into_iter().collect() });
        before = fields;
    }
    Ok(steps)
}

fn presence(recorded: &Recorded, is_known: bool) -> Presence {
    match &recorded.event {
        Event::Identity(identity::Event::Deleted { .. }) => Presence::Gone,
        _ if is_known => Presence::Present,
        _ => Presence::Unknown,
    }
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

/// Every value of a document by its JSON pointer. Objects with members are taken apart; lists are not.
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
