//! The source of phone numbers: a port, and the pool in Postgres behind it.

use std::collections::HashMap;

use async_trait::async_trait;
use identity_domain::phone::UsState;
use identity_domain::{NumberWish, Offer};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

/// A source of phone numbers. Both methods run in the transaction of the batch, which has `log_head` locked. So a number
/// is claimed if and only if the events that assign it are committed, and a slow carrier delays every writer.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Free numbers for these wishes. A number that was released at `rested_since` or before is free again. Each state
    /// that is wished for gets as many numbers as there are wishes, if it has as many: so every wish can get its own.
    async fn offers(
        &self,
        connection: &mut PgConnection,
        wishes: &[NumberWish],
        rested_since: OffsetDateTime,
    ) -> Result<Vec<Offer>, sqlx::Error>;

    /// Carries out changes of numbers, in order. Contract, section 5.
    async fn change(
        &self,
        connection: &mut PgConnection,
        changes: &[NumberChange],
    ) -> Result<(), sqlx::Error>;
}

/// A number that an identity got or released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberChange {
    /// The number in E.164.
    pub number: String,
    /// The identity that has it, or had it last.
    pub identity_id: Uuid,
    /// When it was released; `None` if the identity got it.
    pub released_at: Option<OffsetDateTime>,
}

/// The phone numbers that an operator loaded into the table `phone_number_pool`.
#[derive(Debug, Clone, Copy, Default)]
pub struct NumberPool;

#[async_trait]
impl Carrier for NumberPool {
    async fn offers(
        &self,
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
                 select number, state
                 from phone_number_pool
                 where claimed_by is null and (wished is null or state = wished)
                 order by number
                 limit $2
             ) as free
             order by free.number",
        )
        .bind(states)
        .bind(enough)
        .fetch_all(connection)
        .await?;
        rows.iter().map(offer).collect()
    }

    async fn change(
        &self,
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
