//! disintegrate, as in its README: a decision maker that queries the state, decides, and appends if no event was
//! added in between.

use std::convert::Infallible;

use disintegrate::serde::json::Json;
use disintegrate::{Decision, DecisionError, Event, NoSnapshot, StateMutate, StateQuery};
use disintegrate_postgres::{Error, PgDecisionMaker, PgEventStore, decision_maker};
use serde::{Deserialize, Serialize};
use sqlx_08::error::DatabaseError;
use sqlx_08::postgres::PgConnectOptions;
use uuid::Uuid;

use crate::identity::Created;
use crate::peer::Peer;
use crate::pools;

/// One of its functions contains a hexadecimal number, which Postgres accepts from version 16 on. Every version
/// accepts the same number in decimal.
const IN_DECIMAL: &str = "
    do $$ begin
        execute replace(
            pg_get_functiondef('event_store_begin_epoch'::regproc), '0xFFFFFFFF', '4294967295'
        );
    end $$";

/// The decision maker.
pub(crate) struct Identities(PgDecisionMaker<IdentityEvent, Json<IdentityEvent>, NoSnapshot>);

#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
#[serde(untagged)]
enum IdentityEvent {
    Created {
        #[id]
        identity_id: Uuid,
        #[serde(flatten)]
        created: Created,
    },
}

#[derive(Debug, Clone, Default, StateQuery, Serialize, Deserialize)]
#[state_query(IdentityEvent)]
struct Identity {
    #[id]
    identity_id: Uuid,
    exists: bool,
}

impl StateMutate for Identity {
    fn mutate(&mut self, IdentityEvent::Created { .. }: IdentityEvent) {
        self.exists = true;
    }
}

#[derive(Clone)]
struct Create(Created);

impl Decision for Create {
    type Event = IdentityEvent;
    type StateQuery = Identity;
    type Error = Infallible;

    fn state_query(&self) -> Identity {
        Identity { identity_id: self.0.id, exists: false }
    }

    fn process(&self, identity: &Identity) -> Result<Vec<IdentityEvent>, Infallible> {
        let created = IdentityEvent::Created { identity_id: self.0.id, created: self.0.clone() };
        Ok(if identity.exists { Vec::new() } else { vec![created] })
    }
}

impl Peer for Identities {
    const CRATE: &'static str = "disintegrate-postgres";

    async fn open(database_url: &str, writers: u32) -> anyhow::Result<Self> {
        let unread = database_url.parse::<PgConnectOptions>()?.options([("check_function_bodies", "off")]);
        let pool = pools::open_08(unread, writers).await?;
        let store = PgEventStore::try_new(pool.clone(), Json::default()).await?;
        sqlx_08::query(IN_DECIMAL).execute(&pool).await?;
        Ok(Self(decision_maker(store, NoSnapshot)))
    }

    /// A conflict with the append of another identity is decided again, as its documentation says.
    async fn append(&self, created: Created) -> anyhow::Result<()> {
        loop {
            match self.0.make(Create(created.clone())).await {
                Err(DecisionError::StateStore(error)) if is_conflict(error.as_ref()) => {}
                decided => return Ok(decided.map(drop)?),
            }
        }
    }

    async fn count(&self, database_url: &str) -> anyhow::Result<usize> {
        pools::count(database_url, "select count(*) from event").await
    }
}

/// Whether an error is a conflict. The library has an error for a conflict that Postgres finds at the commit, and
/// none for one that Postgres finds before.
fn is_conflict(error: &(dyn std::error::Error + 'static)) -> bool {
    match error.downcast_ref::<Error>() {
        Some(Error::Concurrency) => true,
        Some(Error::Database(error)) => {
            error.as_database_error().and_then(DatabaseError::code).as_deref() == Some("40001")
        }
        _ => false,
    }
}
