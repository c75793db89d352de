//! Organizations that are late: more was to be queued for them than fits into their share of a step. The common steps leave their
//! events out, and each of them goes on from a place of its own when it is its turn, until it has caught up with the cursor.

use std::collections::{HashMap, HashSet};

use identity_log::{Recorded, read};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::QueueError;
use super::share::{MAX_EVENTS, Place};

/// An organization that is late.
#[derive(Debug, FromRow)]
pub(super) struct Late {
    pub(super) organization_id: String,
    sequence: i64,
    endpoint_id: Option<Uuid>,
}

impl Late {
    /// The one whose turn it is.
    pub(super) async fn next(connection: &mut PgConnection) -> Result<Option<Self>, sqlx::Error> {
        sqlx::query_as(
            "select organization_id, sequence, endpoint_id from webhook_late
             order by served_at, organization_id limit 1",
        )
        .fetch_optional(connection)
        .await
    }

    /// How far its events are queued.
    pub(super) fn place(&self) -> Place {
        Place { sequence: self.sequence, endpoint_id: self.endpoint_id }
    }

    /// Its next events up to the cursor, and whether these are all.
    pub(super) async fn events(
        &self,
        connection: &mut PgConnection,
        cursor: i64,
    ) -> Result<(Vec<Recorded>, bool), QueueError> {
        let positions: Vec<i64> = sqlx::query_scalar(
            "select position
             from (select position from events
                   where organization_id = $1 and organization_sequence > $2
                   order by organization_sequence limit $3) as next
             where position <= $4",
        )
        .bind(&self.organization_id)
        .bind(self.sequence)
        .bind(i64::try_from(MAX_EVENTS).unwrap_or(i64::MAX))
        .bind(cursor)
        .fetch_all(&mut *connection)
        .await?;
        let are_all = positions.len() < MAX_EVENTS;
        if positions.is_empty() {
            return Ok((vec![], are_all));
        }
        Ok((read::at(connection, &positions).await?, are_all))
    }

    /// It goes on from here when it is its turn again.
    pub(super) async fn go_on(&self, connection: &mut PgConnection, from: Place) -> Result<(), sqlx::Error> {
        sqlx::query(
            "update webhook_late set sequence = $2, endpoint_id = $3, served_at = clock_timestamp()
             where organization_id = $1",
        )
        .bind(&self.organization_id)
        .bind(from.sequence)
        .bind(from.endpoint_id)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// It has caught up with the cursor.
    pub(super) async fn end(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query("delete from webhook_late where organization_id = $1")
            .bind(&self.organization_id)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// The organizations that are late.
pub(super) async fn all(connection: &mut PgConnection) -> Result<HashSet<String>, sqlx::Error> {
    let all: Vec<String> =
        sqlx::query_scalar("select organization_id from webhook_late").fetch_all(connection).await?;
    Ok(all.into_iter().collect())
}

/// These organizations are late from now on.
pub(super) async fn begin(
    connection: &mut PgConnection,
    late: &HashMap<String, Place>,
) -> Result<(), sqlx::Error> {
    if late.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into webhook_late (organization_id, sequence, endpoint_id)
         select * from unnest($1::text[], $2::bigint[], $3::uuid[])",
    )
    .bind(late.keys().map(String::as_str).collect::<Vec<_>>())
    .bind(late.values().map(|place| place.sequence).collect::<Vec<_>>())
    .bind(late.values().map(|place| place.endpoint_id).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
