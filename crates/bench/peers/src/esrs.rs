//! esrs, as in its README: an aggregate manager over a Postgres store, and the state of a new aggregate.

use std::convert::Infallible;

use esrs::manager::AggregateManager;
use esrs::store::postgres::{PgStore, PgStoreBuilder};
use esrs::{Aggregate, AggregateState};
use serde::{Deserialize, Serialize};

use crate::identity::Created;
use crate::peer::Peer;
use crate::pools;

/// The manager.
pub(crate) struct Identities(AggregateManager<PgStore<Identity>>);

struct Identity;

struct Create(Created);

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum IdentityEvent {
    Created(Created),
}

impl Aggregate for Identity {
    /// The name of the table follows from it.
    const NAME: &'static str = "identity";
    /// Whether the identity exists.
    type State = bool;
    type Command = Create;
    type Event = IdentityEvent;
    type Error = Infallible;

    fn handle_command(exists: &bool, Create(created): Create) -> Result<Vec<IdentityEvent>, Infallible> {
        Ok(if *exists { Vec::new() } else { vec![IdentityEvent::Created(created)] })
    }

    fn apply_event(_: bool, IdentityEvent::Created(_): IdentityEvent) -> bool {
        true
    }
}

impl Peer for Identities {
    const CRATE: &'static str = "esrs";

    async fn open(database_url: &str, writers: u32) -> anyhow::Result<Self> {
        let pool = pools::open_08(database_url.parse()?, writers).await?;
        Ok(Self(AggregateManager::new(PgStoreBuilder::new(pool).try_build().await?)))
    }

    async fn append(&self, created: Created) -> anyhow::Result<()> {
        let unborn = AggregateState::with_id(created.id);
        let Ok(_born) = self.0.handle_command(unborn, Create(created)).await?;
        Ok(())
    }

    async fn count(&self, database_url: &str) -> anyhow::Result<usize> {
        pools::count(database_url, "select count(*) from identity_events").await
    }
}
