//! The source of phone numbers: a port, and the pool in Postgres behind it.

use async_trait::async_trait;
use identity_domain::phone::UsState;
use identity_domain::{NumberWish, Offer};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

/// A source of phone numbers. Both methods run in the transaction of the batch, which has `log_head` locked. So a number
/// is claimed if and only if the events that assign it are committed, and a slow carrier would hold up every writer.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Free numbers for these wishes. Wishes for the same state get as many numbers as there are wishes, so every wish
    /// finds one, if there are enough free numbers.
    async fn offers(
        &self,
        connection: &mut PgConnection,
        wishes: &[NumberWish],
    ) -> Result<Vec<Offer>, sqlx::Error>;

    /// Claims numbers for identities, for ever: a released number is not assigned again. Contract, section 5.
    async fn claim(
        &self,
        connection: &mut PgConnection,
        claims: &[(String, Uuid)],
    ) -> Result<(), sqlx::Error>;
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
    ) -> Result<Vec<Offer>, sqlx::Error> {
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

    async fn claim(
        &self,
        connection: &mut PgConnection,
        claims: &[(String, Uuid)],
    ) -> Result<(), sqlx::Error> {
        let (numbers, identities): (Vec<&str>, Vec<Uuid>) =
            claims.iter().map(|(number, identity)| (number.as_str(), *identity)).unzip();
        sqlx::query(
            "update phone_number_pool
             set claimed_by = identity
             from unnest($1::text[], $2::uuid[]) as claims (claimed, identity)
             where number = any($1) and number = claimed",
        )
        .bind(numbers)
        .bind(identities)
        .execute(connection)
        .await?;
        Ok(())
    }
}

fn offer(row: &sqlx::postgres::PgRow) -> Result<Offer, sqlx::Error> {
    let state: String = row.try_get("state")?;
    let state = UsState::parse(&state).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Offer { number: row.try_get("number")?, state })
}
