//! Shows the state of an identity after each of its events, and who caused the event: from an export, or from the
//! database.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use identity_audit::envelope::Envelope;
use identity_audit::events;
use identity_domain::{Event, Handle, Kind, identity};
use identity_log::life::{self, Life};
use identity_log::{Metadata, Recorded, codec, history, past, read};
use identity_projections::document::IdentityDocument;
use identity_projections::identities::Row;
use identity_projections::states::{self, IdentityRows, RowsOfAggregate as _, Upto};
use identity_projections::vault_access::Rules;
use identity_projections::visibility::oldest_first;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::export::envelope;

/// The history of an identity, as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// Its events, in order.
    pub steps: Vec<ReplayedEvent>,
    /// Why events of the identity may be missing, if they may.
    pub doubt: Option<String>,
}

/// An event, and the identity after it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplayedEvent {
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

/// Which part of a life is shown. A moment belongs to the part.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReplayRange {
    /// Only what happened from this moment on.
    pub since: Option<OffsetDateTime>,
    /// Only what happened until this moment.
    pub until: Option<OffsetDateTime>,
    /// Whether the database is read from the first event on also if the part begins later. Otherwise the part begins with the
    /// last stored state before it, so that few events are read, and that state is trusted.
    pub from_first_event: bool,
}

/// Replays an identity, given by its id or by any handle that it ever had, from an export. It does not check
/// signatures: [`verify`](identity_audit::verify) does.
pub fn file(path: &Path, identity: &str, part: ReplayRange) -> anyhow::Result<Replay> {
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
    let first = taken.first().filter(|_| begins_late).map_or(1, |event| event.sequence);
    Ok(Replay { steps: steps(IdentityRows::default(), dense(taken, first)?, part)?, doubt })
}

/// Replays an identity, given by its id or by any handle that it ever had, from the database.
pub async fn database(
    pool: &PgPool,
    organization_id: &str,
    identity: &str,
    part: ReplayRange,
) -> anyhow::Result<Replay> {
    let id = find(pool, organization_id, identity).await?;
    let mut connection = pool.acquire().await?;
    let (sequence, rows) = match part.since {
        Some(since) if !part.from_first_event => {
            state_before(&mut connection, organization_id, &id, since).await?
        }
        _ => (0, IdentityRows::default()),
    };
    let upto_in_organization = match part.until {
        Some(until) => history::sequence_at(&mut *connection, organization_id, until).await?,
        None => i64::MAX,
    };
    let mut events = vec![];
    let mut rest = Some(Life {
        organization_id,
        kind: Kind::Identity,
        aggregate_id: &id,
        after: sequence,
        upto: i64::MAX,
        upto_in_organization,
    });
    while let Some(life) = rest {
        let each = life::each(&mut connection, life, |entry| {
            events.push(envelope(&entry)?);
            Ok::<_, anyhow::Error>(())
        });
        rest = each.await?;
    }
    Ok(Replay { steps: steps(rows, dense(events, sequence + 1)?, part)?, doubt: None })
}

/// The last stored state of an identity before a moment, and the sequence of its last event; before its first event, if there is
/// none.
async fn state_before(
    connection: &mut PgConnection,
    organization_id: &str,
    id: &str,
    moment: OffsetDateTime,
) -> anyhow::Result<(i64, IdentityRows)> {
    let before = moment.saturating_sub(Duration::MICROSECOND);
    let upto = history::sequence_at(&mut *connection, organization_id, before).await?;
    let upto = Upto::OrganizationSequence(upto);
    let stored = states::last_identity_rows(connection, organization_id, id, upto).await?;
    Ok(stored.map(|stored| (stored.sequence, stored.rows)).unwrap_or_default())
}

/// The id of the identity that is asked for.
async fn find(pool: &PgPool, organization_id: &str, identity: &str) -> anyhow::Result<String> {
    let ids = match IdentityName::parse(identity)? {
        IdentityName::Id(id) => {
            let version = read::version(pool, organization_id, Kind::Identity, &id).await?;
            version.map(|_| id).into_iter().collect()
        }
        IdentityName::Handle(handle) => {
            past::holders(pool, organization_id, handle.as_str()).await?.into_iter().collect()
        }
    };
    only_one(identity, ids, true)
}

fn is_of(event: &Envelope, id: &str) -> bool {
    event.aggregate_type == "identity" && event.aggregate_id == id
}

/// What the payload of an event says of a handle.
#[derive(Deserialize)]
struct NamedHandle {
    agent_handle: String,
}

/// What the metadata of an event say of who caused it.
#[derive(Deserialize)]
struct NamedActor {
    actor: String,
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
                let payload = serde_json::from_str(event.payload.as_str());
                event.aggregate_type == "identity"
                    && payload.is_ok_and(|named: NamedHandle| named.agent_handle == handle.as_str())
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

/// The events, if none of them is missing. The first one is that with the sequence `first`.
fn dense(events: Vec<Envelope>, first: i64) -> anyhow::Result<Vec<Envelope>> {
    for (expected, event) in (first..).zip(&events) {
        let Envelope { aggregate_id, sequence, organization_sequence, .. } = event;
        ensure!(
            *sequence == expected,
            "event {expected} of identity {aggregate_id} is missing: its event {sequence} is event {organization_sequence} of the history"
        );
    }
    Ok(events)
}

/// The state of an identity as it is shown.
#[derive(Debug, Serialize)]
struct ShownIdentity<'a> {
    #[serde(flatten)]
    document: &'a IdentityDocument,
    access: Vec<Value>,
    /// The text as the client wrote it: a JSON value would lose the order of members and the digits of large numbers.
    tunnel_metadata: &'a str,
    vault_secret_ids: Vec<&'a Uuid>,
}

/// The document as the API answers it, with further state that the API answers at other paths. Access rows of deleted viewers
/// stay, since no event of this identity tells of their deletion.
fn shown(rows: &IdentityRows) -> anyhow::Result<Option<Value>> {
    let Some(Row { document, tunnel_metadata, .. }) = &rows.row else { return Ok(None) };
    let access = rows.access.iter().flat_map(oldest_first);
    let access = access.map(|row| Ok(serde_json::from_str(&row.document(document.id)?)?));
    let access: Vec<Value> = access.collect::<anyhow::Result<_>>()?;
    let vault_secret_ids = rows.secrets.iter().flat_map(Rules::keys).collect();
    let state = ShownIdentity { document, access, tunnel_metadata, vault_secret_ids };
    Ok(Some(serde_json::to_value(state)?))
}

/// The steps of a part. `rows` is the identity before the first event.
fn steps(
    mut rows: IdentityRows,
    events: Vec<Envelope>,
    part: ReplayRange,
) -> anyhow::Result<Vec<ReplayedEvent>> {
    let mut before = None;
    let mut steps = Vec::new();
    for event in events {
        let recorded = recorded(&event)?;
        if part.until.is_some_and(|until| recorded.recorded_at > until) {
            break;
        }
        if part.since.is_some_and(|since| recorded.recorded_at < since) {
            rows.evolve(&recorded);
            continue;
        }
        let fields_before = match before.take() {
            Some(fields) => fields,
            None => shown(&rows)?.as_ref().map(fields).unwrap_or_default(),
        };
        rows.evolve(&recorded);
        let state = shown(&rows)?;
        let fields = state.as_ref().map(fields).unwrap_or_default();
        let differs = |pointer: &&String| fields.get(*pointer) != fields_before.get(*pointer);
        let changed: BTreeSet<String> =
            fields.keys().chain(fields_before.keys()).filter(differs).cloned().collect();
        let actor = serde_json::from_str(event.metadata.as_str());
        let actor = actor.map_or_else(|_| "unknown".to_owned(), |named: NamedActor| named.actor);
        let presence = presence(&recorded, state.is_some());
        steps.push(ReplayedEvent { event, actor, presence, state, changed: changed.into_iter().collect() });
        before = Some(fields);
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
    let Envelope { event_type, event_version, .. } = event;
    let payload = event.payload.as_str().as_bytes();
    let decoded = codec::decode_text(Kind::Identity, event_type, event_version, payload);
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
