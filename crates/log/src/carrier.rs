//! Where phone numbers come from: a port, and the pool in Postgres behind it.

use async_trait::async_trait;
use identity_domain::phone::UsState;
use identity_domain::{NumberWish, Offer};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

/// A source of phone numbers. Both methods run inside the append's transaction, so a number is claimed together with
/// the events that say so, or not at all.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Free numbers for these wishes: enough that each wish finds one, even if all others of its kind are fulfilled
    /// first, as far as the inventory goes.
    async fn offers(
        &self,
        connection: &mut PgConnection,
        wishes: &[NumberWish],
    ) -> Result<Vec<Offer>, sqlx::Error>;

    /// Takes numbers out of the inventory for ever: a released number is not assigned again. Contract, section 5.
    async fn claim(
        &self,
        connection: &mut PgConnection,
        claims: &[(String, Uuid)],
    ) -> Result<(), sqlx::Error>;
}

/// Numbers that an operator loaded into the table `phone_number_pool`.
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
