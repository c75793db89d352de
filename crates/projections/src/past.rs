//! Identities at an earlier moment. The folds of the live read models fold the events up to that moment, and the
//! results are joined as in [`identities`](crate::identities). The body is byte for byte the one that an admin was
//! answered then.
//!
//! A moment is given as the `organization_sequence` of the last event at or before it. The fold of an identity begins with the
//! last [stored state](crate::states) that has no later event. If there is none, it begins with the first event.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use identity_domain::{Event, Kind, identity};
use identity_log::history::{History, Query};
use identity_log::life::{self, Life};
use identity_log::{ReadError, Recorded, past};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::identities::{IdentityBody, Row};
use crate::states::{self, IdentityRows, RowsOfAggregate as _, StoredRows, Upto};
use crate::visibility::{self, Rows};

/// Why an earlier moment could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The events could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Postgres refused a statement, or was unavailable.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// The folded document cannot be written as JSON.
    #[error("document of the past does not encode")]
    Document(#[from] serde_json::Error),
}

/// An identity as folded up to a moment.
#[derive(Debug, Default)]
struct Past {
    rows: IdentityRows,
    /// The `organization_sequence` of the last event that was folded.
    last_sequence: i64,
}

impl Past {
    fn evolve(&mut self, recorded: &Recorded) {
        self.rows.evolve(recorded);
        self.last_sequence = recorded.organization_sequence;
    }

    /// The body, if the identity existed. Access rows of viewers that did not exist are left out (D26).
    fn body(self, is_live: impl Fn(Uuid) -> bool) -> Result<Option<IdentityBody>, serde_json::Error> {
        let Some(Row { document, version, changed_at, .. }) = self.rows.row else {
            return Ok(None);
        };
        let mut rows = self.rows.access.unwrap_or_default();
        rows.retain(|viewer, _| viewer.is_none_or(&is_live));
        Ok(Some(IdentityBody {
            id: document.id,
            version,
            changed_at,
            document: serde_json::to_string(&document)?,
            access: visibility::text(&rows, document.id)?,
        }))
    }

    fn viewers(&self) -> Vec<String> {
        let viewers = self.rows.access.iter().flat_map(Rows::keys).flatten();
        viewers.map(Uuid::to_string).collect()
    }

    fn has_handle(&self, handle: &str) -> bool {
        self.rows.row.as_ref().is_some_and(|row| row.document.agent_handle == handle)
    }

    fn has_version(&self, version: i64) -> bool {
        self.rows.row.as_ref().is_some_and(|row| row.version == version)
    }
}

/// The identity that had this handle at the sequence `upto`.
pub async fn find(
    pool: &PgPool,
    organization_id: &str,
    handle: &str,
    upto: i64,
) -> Result<Option<IdentityBody>, PastError> {
    let Some(id) = past::last_holder(pool, organization_id, handle, upto).await? else {
        return Ok(None);
    };
    let mut connection = pool.acquire().await?;
    let identity = fold_one(&mut connection, organization_id, &id, Upto::OrganizationSequence(upto)).await?;
    if identity.has_handle(handle) { complete(&mut connection, identity, upto).await } else { Ok(None) }
}

/// The identity that had this handle at its own version `sequence`. If there are several, the one that took the
/// handle last.
pub async fn find_version(
    pool: &PgPool,
    organization_id: &str,
    handle: &str,
    sequence: i64,
) -> Result<Option<IdentityBody>, PastError> {
    let holders = past::holders(pool, organization_id, handle).await?;
    let mut connection = pool.acquire().await?;
    for id in holders {
        let identity = fold_one(&mut connection, organization_id, &id, Upto::Sequence(sequence)).await?;
        if identity.has_version(sequence) && identity.has_handle(handle) {
            let upto = identity.last_sequence;
            return complete(&mut connection, identity, upto).await;
        }
    }
    Ok(None)
}

fn of_identities(organization_id: &str, upto: i64) -> Query {
    Query { kind: Some(Kind::Identity), metadata: false, ..Query::range(organization_id, 0, upto) }
}

/// Folds an identity, from the last stored state that contains no event after `upto`.
async fn fold_one(
    connection: &mut PgConnection,
    organization_id: &str,
    id: &str,
    upto: Upto,
) -> Result<Past, PastError> {
    let stored = states::last_identity_rows(connection, organization_id, id, upto).await?;
    let mut identity = Past::default();
    let mut life = Life {
        organization_id,
        kind: Kind::Identity,
        aggregate_id: id,
        after: 0,
        upto: i64::MAX,
        upto_in_organization: i64::MAX,
    };
    match upto {
        Upto::Sequence(sequence) => life.upto = sequence,
        Upto::OrganizationSequence(sequence) => life.upto_in_organization = sequence,
    }
    if let Some(StoredRows { sequence, organization_sequence, rows }) = stored {
        life.after = sequence;
        identity = Past { rows, last_sequence: organization_sequence };
    }
    let mut rest = Some(life);
    while let Some(life) = rest {
        let page = life::page(connection, life).await?;
        page.events.iter().for_each(|event| identity.evolve(event));
        rest = page.rest;
    }
    Ok(identity)
}

async fn complete(
    connection: &mut PgConnection,
    identity: Past,
    upto: i64,
) -> Result<Option<IdentityBody>, PastError> {
    let viewers = identity.viewers();
    let gone: HashSet<String> = if viewers.is_empty() {
        HashSet::new()
    } else {
        past::gone(connection, &viewers, upto).await?.into_iter().collect()
    };
    Ok(identity.body(|viewer| !gone.contains(&viewer.to_string()))?)
}

/// The identities that existed at a moment, newest first (D22). This keeps only their ids; the bodies are read page
/// by page.
#[derive(Debug)]
pub struct Lived {
    organization_id: String,
    upto: i64,
    newest_first: Vec<Uuid>,
    live: HashSet<Uuid>,
}

impl Lived {
    /// Reads all events that created or deleted an identity, up to the sequence `upto`.
    pub async fn find(pool: &PgPool, organization_id: &str, upto: i64) -> Result<Self, PastError> {
        let types = ["identity.created", "identity.deleted"].map(str::to_owned).to_vec();
        let query = Query { event_types: Some(types), ..of_identities(organization_id, upto) };
        let mut connection = pool.acquire().await?;
        let mut history = History::begin(&mut connection, &query);
        let mut created: HashMap<String, (OffsetDateTime, Uuid)> = HashMap::new();
        while let Some(entry) = history.next().await? {
            let recorded = entry.recorded()?;
            if let Event::Identity(identity::Event::Created { id, .. }) = recorded.event {
                created.insert(recorded.aggregate_id, (recorded.recorded_at, id));
            } else {
                created.remove(&recorded.aggregate_id);
            }
        }
        let mut created: Vec<(OffsetDateTime, Uuid)> = created.into_values().collect();
        created.sort_unstable_by_key(|creation| Reverse(*creation));
        let newest_first: Vec<Uuid> = created.into_iter().map(|(_, id)| id).collect();
        let live = newest_first.iter().copied().collect();
        Ok(Self { organization_id: organization_id.to_owned(), upto, newest_first, live })
    }

    /// About how many bytes this has in memory: each id is in two collections, of which one has places that are empty.
    pub fn bytes(&self) -> usize {
        self.newest_first.len() * 3 * size_of::<Uuid>()
    }

    /// The bodies of up to `count` identities, beginning with the one at `place` in the list. Empty at the end.
    pub async fn piece(
        &self,
        pool: &PgPool,
        place: usize,
        count: usize,
    ) -> Result<Vec<IdentityBody>, PastError> {
        let ids = self.newest_first.get(place..).unwrap_or_default();
        let ids: Vec<String> = ids.iter().take(count).map(Uuid::to_string).collect();
        let query =
            Query { aggregate_ids: Some(ids.clone()), ..of_identities(&self.organization_id, self.upto) };
        let mut connection = pool.acquire().await?;
        let mut history = History::begin(&mut connection, &query);
        let mut identities: HashMap<String, Past> = HashMap::new();
        while let Some(entry) = history.next().await? {
            let recorded = entry.recorded()?;
            identities.entry(recorded.aggregate_id.clone()).or_default().evolve(&recorded);
        }
        let in_order = ids.iter().filter_map(|id| identities.remove(id));
        let bodies = in_order.map(|identity| identity.body(|viewer| self.live.contains(&viewer)));
        Ok(bodies.filter_map(Result::transpose).collect::<Result<_, _>>()?)
    }
}
