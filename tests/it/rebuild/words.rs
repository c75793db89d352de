//! Helpers of the tests of read models: jobs, and looks at their tables.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use identity_projections::rebuild::{self, JobError, Phase, Progress, Report, Settings, Verified};
use identity_projections::{Table, registry, tables};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Executor as _};
use tokio::sync::watch;

use crate::harness::{World, eventually, wait};

/// Builds the next table and does not make it live.
pub(super) const BESIDE: Settings = Settings { workers: 2, cut_over: false };

/// Builds the next table and makes it live.
pub(super) const LIVE: Settings = Settings { workers: 2, cut_over: true };

/// How jobs connect.
pub(super) fn options(world: &World) -> PgConnectOptions {
    world.database().url().parse().unwrap()
}

pub(super) fn table(name: &str) -> Arc<dyn Table> {
    tables().into_iter().find(|table| table.name() == name).unwrap()
}

/// The version of the fold of a read model in this software.
pub(super) fn version(name: &str) -> i32 {
    tables().iter().find(|table| table.name() == name).unwrap().version()
}

pub(super) fn names() -> Vec<&'static str> {
    tables().iter().map(|table| table.name()).collect()
}

/// The read models without which requests are answered.
pub(super) fn optional() -> Vec<&'static str> {
    tables().iter().filter(|table| !table.is_needed()).map(|table| table.name()).collect()
}

pub(super) fn nowhere_yet() -> watch::Sender<Progress> {
    watch::Sender::new(Progress { phase: Phase::Fold, done: 0, total: 0 })
}

pub(super) async fn rebuild(
    options: &PgConnectOptions,
    name: &str,
    settings: Settings,
) -> Result<Report, JobError> {
    rebuild::rebuild_until(options, table(name), settings, &nowhere_yet(), std::future::pending()).await
}

impl World {
    pub(super) fn rebuild(&self, name: &str, settings: Settings) -> Result<Report, JobError> {
        wait(rebuild(&options(self), name, settings))
    }

    pub(super) fn verify(&self, name: &str) -> Result<Verified, JobError> {
        wait(rebuild::verify(&options(self), table(name).as_ref(), &AtomicU64::new(0)))
    }

    /// Asserts that no read model differs from the log.
    #[track_caller]
    pub(super) fn is_clean(&self) {
        for name in names() {
            let verified = self.verify(name).unwrap();
            assert_eq!(verified.differences, [], "{name}");
        }
    }

    /// The rows of a table as text, in a fixed order.
    pub(super) fn rows(&self, schema: &str, name: &str) -> Vec<String> {
        let query = format!("select to_jsonb(t)::text from {schema}.{name} as t order by 1");
        wait(sqlx::query_scalar(&query).fetch_all(self.database().pool())).expect(&query)
    }

    /// The definitions of all keys and indexes of a table.
    pub(super) fn indexes(&self, schema: &str, name: &str) -> Vec<String> {
        let query = format!(
            "select replace(indexdef, ' {schema}.', ' ') from pg_indexes
             where schemaname = '{schema}' and tablename = '{name}' order by 1"
        );
        wait(sqlx::query_scalar(&query).fetch_all(self.database().pool())).expect(&query)
    }

    pub(super) fn entry(&self, name: &str) -> registry::Entry {
        let entries = wait(registry::list(self.database().pool())).unwrap();
        entries.into_iter().find(|entry| entry.name == name).unwrap()
    }

    /// Executes statements on a new connection of the owner, and returns it.
    pub(crate) fn session(&self, statements: &str) -> PgConnection {
        wait(async {
            let mut connection = PgConnection::connect(self.database().owner_url()).await.unwrap();
            connection.execute(statements).await.expect(statements);
            connection
        })
    }

    /// Changes what triggers would refuse.
    pub(super) fn behind_our_back(&self, statement: &str) {
        let session = self.session(&format!("set session_replication_role = replica; {statement}"));
        wait(session.close()).unwrap();
    }

    /// Keeps the jobs of this read model from creating their table, until the session is closed.
    pub(super) fn hold_up(&self, name: &str) -> PgConnection {
        self.database().execute(&format!("create table if not exists read_model_next.{name} ()"));
        self.session(&format!("begin; lock table read_model_next.{name} in access exclusive mode"))
    }

    /// Waits until some session waits for a lock on a table.
    pub(super) fn somebody_waits_for(&self, relation: &str) {
        let waiting = format!(
            "select count(*) from pg_locks where not granted and relation = '{relation}'::regclass
             and database = (select oid from pg_database where datname = current_database())"
        );
        eventually("somebody waits for the lock", || self.database().number(&waiting) > 0);
    }

    /// A service with many identities that were changed several times. Their events are inserted directly, and the read
    /// models rebuilt.
    pub(super) fn crowd(identities: i64, turns: i64) -> Self {
        let world = Self::new();
        let seed = include_str!("crowd.sql")
            .replace(":organization", &format!("'{}'", world.organization_id()))
            .replace(":identities", &identities.to_string())
            .replace(":turns", &turns.to_string());
        wait(world.session(&seed).close()).unwrap();
        for name in ["identities", "visibility", "vault_access", "identity_states"] {
            world.rebuild(name, LIVE).unwrap();
        }
        world
    }
}
