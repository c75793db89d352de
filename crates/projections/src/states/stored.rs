//! Queries for stored states.

use std::error::Error;

use identity_log::{ReadModelFailure, StoredState};
use sqlx::{FromRow, PgConnection};

use super::identity_rows::IdentityRows;
use super::kinds::IdentityStates;
use super::model::{EVENTS_BETWEEN_STATES, RowsOfAggregate as _, StateRow, States};
use crate::columns::{TableRow as _, names};
use crate::registry;

/// Whether the table is in one of the schemas of the search path. There is none after a part of a backup was restored.
pub(super) async fn is_there<K: States>(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select to_regclass($1) is not null").bind(K::NAME).fetch_one(connection).await
}

/// The last stored state of an aggregate.
pub(super) async fn last<K: States>(
    connection: &mut PgConnection,
    id: &str,
) -> Result<Option<StateRow>, sqlx::Error> {
    let (columns, table) = (names(StateRow::COLUMNS), K::NAME);
    let query = format!(
        "select {columns} from {table} where aggregate_id = $1 and version = $2 order by sequence desc limit 1"
    );
    sqlx::query_as(&query).bind(id).bind(i64::from(K::VERSION)).fetch_optional(connection).await
}

/// The sequences of the last stored states of aggregates.
pub(super) async fn last_sequences<K: States>(
    connection: &mut PgConnection,
    ids: &[&str],
) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let query = format!(
        "select wanted, sequence
         from unnest($1::text[]) as wanted
         cross join lateral (
             select sequence from {} where aggregate_id = wanted and version = $2 order by sequence desc limit 1
         ) as last",
        K::NAME
    );
    sqlx::query_as(&query).bind(ids).bind(i64::from(K::VERSION)).fetch_all(connection).await
}

/// What decisions need of a stored state.
#[derive(FromRow)]
struct ForDecisions {
    aggregate_id: String,
    organization_id: String,
    sequence: i64,
    decision: String,
}

/// The last stored state of each aggregate that has one. One that cannot be read is left out.
pub(super) async fn last_of_each<K: States>(
    connection: &mut PgConnection,
    ids: &[&str],
) -> Result<Vec<StoredState>, ReadModelFailure> {
    if !is_there::<K>(connection).await? {
        return Ok(vec![]);
    }
    let query = format!(
        "select last.*
         from unnest($1::text[]) as wanted
         cross join lateral (
             select aggregate_id, organization_id, sequence, decision
             from {}
             where aggregate_id = wanted and version = $2
             order by sequence desc
             limit 1
         ) as last",
        K::NAME
    );
    let rows: Vec<ForDecisions> =
        sqlx::query_as(&query).bind(ids).bind(i64::from(K::VERSION)).fetch_all(connection).await?;
    Ok(rows.into_iter().filter_map(|row| row.read(K::NAME)).collect())
}

impl ForDecisions {
    fn read(self, table: &str) -> Option<StoredState> {
        let Self { aggregate_id, organization_id, sequence, decision } = self;
        let state = readable(table, &aggregate_id, sequence, serde_json::from_str(&decision))?;
        Some(StoredState { aggregate_id, organization_id, sequence, state })
    }
}

/// A stored state, if it can be read. Otherwise readers fold from the first event.
pub(super) fn readable<T>(table: &str, id: &str, sequence: i64, read: serde_json::Result<T>) -> Option<T> {
    if let Err(error) = &read {
        tracing::warn!(error = error as &dyn Error, table, id, sequence, "a stored state cannot be read");
    }
    read.ok()
}

/// Up to which event a state is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upto {
    /// This one of the identity.
    Sequence(i64),
    /// The last one of the identity up to this `organization_sequence`.
    OrganizationSequence(i64),
}

/// Stored rows of an identity.
#[derive(Debug)]
pub struct StoredRows {
    /// The sequence of the last event that they contain.
    pub sequence: i64,
    /// Its `organization_sequence`.
    pub organization_sequence: i64,
    /// The rows.
    pub rows: IdentityRows,
}

/// The last stored rows of an identity that contain no event after `upto`.
pub async fn last_identity_rows(
    connection: &mut PgConnection,
    organization_id: &str,
    id: &str,
    upto: Upto,
) -> Result<Option<StoredRows>, sqlx::Error> {
    let (column, upto) = match upto {
        Upto::Sequence(sequence) if sequence < EVENTS_BETWEEN_STATES => return Ok(None),
        Upto::Sequence(sequence) => ("sequence", sequence),
        Upto::OrganizationSequence(sequence) => ("organization_sequence", sequence),
    };
    let table = <IdentityStates as States>::NAME;
    if !registry::is_there(&mut *connection, table).await? {
        return Ok(None);
    }
    let query = format!(
        "select sequence, organization_sequence, rows
         from read_model.{table}
         where aggregate_id = $1 and organization_id = $2 and version = $3 and {column} <= $4
         order by {column} desc
         limit 1"
    );
    let found: Option<(i64, i64, Option<String>)> = sqlx::query_as(&query)
        .bind(id)
        .bind(organization_id)
        .bind(i64::from(<IdentityStates as States>::VERSION))
        .bind(upto)
        .fetch_optional(connection)
        .await?;
    Ok(found.and_then(|(sequence, organization_sequence, rows)| {
        let rows = IdentityRows::decode(organization_id, rows.as_deref());
        let rows = readable(table, id, sequence, rows)?;
        Some(StoredRows { sequence, organization_sequence, rows })
    }))
}
