//! The phone numbers that an operator loaded: the table `phone_number_pool`.
//!
//! It is read and written in the transaction of the batch, which has `log_head` locked. So a number is claimed if and only if the
//! events that assign it are committed.

use std::collections::HashMap;

use identity_domain::phone::UsState;
use identity_domain::{NumberWish, Offer};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

/// A number that an identity got or released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NumberChange {
    /// The number in E.164.
    pub(super) number: String,
    /// The identity that has it, or had it last.
    pub(super) identity_id: Uuid,
    /// When it was released; `None` if the identity got it.
    pub(super) released_at: Option<OffsetDateTime>,
}

/// Free numbers for these wishes: for each state that is asked for, as many numbers as there are wishes, if the pool has them. So
/// every wish can get a number of its own. A number released at `rested_since` or before is free.
pub(super) async fn offers(
    connection: &mut PgConnection,
    wishes: &[NumberWish],
    rested_since: OffsetDateTime,
) -> Result<Vec<Offer>, sqlx::Error> {
    return_rested(connection, rested_since).await?;
    let states: Vec<Option<String>> = wishes.iter().map(|wish| wish.state.map(String::from)).collect();
    let enough = i64::try_from(wishes.len()).unwrap_or(i64::MAX);
    let rows = sqlx::query(
        "select distinct free.number, free.state
             from (select distinct wished from unnest($1::text[]) as wish (wished)) as wishes
             cross join lateral (
                 (select number, state from phone_number_pool
                  where claimed_by is null and state = wished
                  order by number limit $2)
                 union all
                 (select number, state from phone_number_pool
                  where claimed_by is null and wished is null
                  order by number limit $2)
             ) as free
             order by free.number",
    )
    .bind(states)
    .bind(enough)
    .fetch_all(connection)
    .await?;
    rows.iter().map(offer).collect()
}

/// Carries out changes of numbers, in order. Contract, section 5.
pub(super) async fn change(
    connection: &mut PgConnection,
    changes: &[NumberChange],
) -> Result<(), sqlx::Error> {
    // An update sees each row once, so the last change of each number is the one that is written.
    let last: HashMap<&str, &NumberChange> =
        changes.iter().map(|change| (change.number.as_str(), change)).collect();
    sqlx::query(
        "update phone_number_pool
             set claimed_by = identity, released_at = released
             from unnest($1::text[], $2::uuid[], $3::timestamptz[]) as changes (changed, identity, released)
             where number = any($1) and number = changed",
    )
    .bind(last.keys().copied().collect::<Vec<_>>())
    .bind(last.values().map(|change| change.identity_id).collect::<Vec<_>>())
    .bind(last.values().map(|change| change.released_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts numbers back into the pool that were released at this moment or before.
async fn return_rested(
    connection: &mut PgConnection,
    rested_since: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query("update phone_number_pool set claimed_by = null, released_at = null where released_at <= $1")
        .bind(rested_since)
        .execute(connection)
        .await
        .map(drop)
}

fn offer(row: &sqlx::postgres::PgRow) -> Result<Offer, sqlx::Error> {
    let state: String = row.try_get("state")?;
    let state = UsState::parse(&state).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Offer { number: row.try_get("number")?, state })
}
