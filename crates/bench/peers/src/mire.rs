//! mire, as in its README: load the aggregate, execute a command, save it.

use std::convert::Infallible;

use mire::{Aggregate, Command, EventData, EventMetadata, EventStore};
use serde::{Deserialize, Serialize};

use crate::identity::{ACTOR, Created, mint};
use crate::peer::Peer;
use crate::pools;

/// The store.
pub(crate) struct Identities(EventStore);

#[derive(Debug, Clone, Serialize, Deserialize, EventData)]
#[serde(untagged)]
#[mire(entity = "identity")]
enum IdentityEvent {
    Created(Created),
}

#[derive(Debug, Default)]
struct Identity {
    exists: bool,
}

impl Aggregate for Identity {
    type Event = IdentityEvent;

    fn stream_category() -> &'static str {
        "identity"
    }

    fn apply(&mut self, IdentityEvent::Created(_): &IdentityEvent) {
        self.exists = true;
    }
}

struct Create(Created);

impl Command for Create {
    type Aggregate = Identity;
    type Error = Infallible;
    type Events = Option<IdentityEvent>;

    fn handle(self, identity: &Identity) -> Result<Self::Events, Infallible> {
        Ok((!identity.exists).then_some(IdentityEvent::Created(self.0)))
    }
}

impl Peer for Identities {
    const CRATE: &'static str = "mire";

    async fn open(database_url: &str, writers: u32) -> anyhow::Result<Self> {
        let pool = pools::open(database_url, writers).await?;
        let store = EventStore::new(pool);
        store.migrate().await?;
        Ok(Self(store))
    }

    async fn append(&self, created: Created) -> anyhow::Result<()> {
        let mut identity = self.0.load_or_default::<Identity>(&created.id.to_string()).await?;
        identity.set_metadata(EventMetadata {
            correlation_id: Some(mint()),
            causation_id: Some(mint()),
            actor: Some(ACTOR.to_owned()),
        });
        identity.execute(Create(created))?;
        Ok(self.0.save(&mut identity).await?)
    }

    async fn count(&self, database_url: &str) -> anyhow::Result<usize> {
        pools::count(database_url, "select count(*) from es_events").await
    }
}
