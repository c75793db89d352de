//! A database for one test. It is dropped with the test.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use identityd::signing::{EtcdSettings, SigningSettings};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;

use super::postgres::{self, Postgres, Template};
use super::world::Organization;
use super::{eventually, wait};

/// A migrated database that nobody else uses.
#[derive(Debug)]
pub(crate) struct Database {
    server: &'static Postgres,
    name: String,
    url: String,
    owner_url: String,
    pool: PgPool,
    data_dir: TempDir,
    /// The endpoints of the etcd in which signers remember what was signed.
    etcd: Mutex<Option<Vec<String>>>,
}

impl Database {
    /// A database without an organization.
    pub(crate) fn create() -> Self {
        Self::copy(postgres::shared(), Template::Empty)
    }

    /// A database with the organization that most tests use.
    pub(crate) fn with_home() -> Self {
        Self::copy(postgres::shared(), Template::Home)
    }

    /// The same on a server that belongs to this test alone. It ends with the process.
    pub(crate) fn on_another_server() -> Self {
        Self::copy(Box::leak(Box::new(Postgres::private())), Template::Home)
    }

    fn copy(server: &'static Postgres, template: Template) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("identityd_test_{}_{count}", std::process::id());
        wait(server.create(&name, template));
        let (url, owner_url) = (server.service_url_of(&name), server.url_of(&name));
        let pool = wait(PgPoolOptions::new().max_connections(2).connect(&owner_url)).unwrap();
        Self { server, name, url, owner_url, pool, data_dir: postgres::data_dir(), etcd: Mutex::default() }
    }

    /// The organization that most tests use.
    pub(crate) fn home(&self) -> Organization {
        self.server.home()
    }

    /// The URL for services, whose role owns nothing.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The URL for the owner of the tables.
    pub(crate) fn owner_url(&self) -> &str {
        &self.owner_url
    }

    /// Connections of the owner.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The signing key of this database. It stays the same when the service is started again.
    pub(crate) fn signing(&self) -> SigningSettings {
        let endpoints = self.etcd.lock().unwrap().clone();
        let etcd = endpoints.map(|endpoints| EtcdSettings {
            endpoints,
            ca_file: None,
            certificate: None,
            account: None,
        });
        SigningSettings { data_dir: self.data_dir.path().to_owned(), key: None, etcd }
    }

    /// From now on signers remember what was signed in etcd.
    pub(crate) fn remember_in(&self, endpoints: &[&str]) {
        *self.etcd.lock().unwrap() = Some(endpoints.iter().map(ToString::to_string).collect());
    }

    /// Waits until no session is in a transaction, so that none keeps a lock if it hangs from now on.
    pub(crate) fn wait_until_nobody_is_in_a_transaction(&self) {
        let others = "select count(*) from pg_stat_activity
                      where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null";
        eventually("nobody is in a transaction", || self.number(others) == 0);
    }

    /// One number, from a query of one row.
    pub(crate) fn number(&self, query: &str) -> i64 {
        wait(sqlx::query_scalar(query).fetch_one(&self.pool)).expect(query)
    }

    /// One text, from a query of one row.
    pub(crate) fn text(&self, query: &str) -> String {
        wait(sqlx::query_scalar(query).fetch_one(&self.pool)).expect(query)
    }

    /// Changes the database directly, for states that no caller can bring about.
    pub(crate) fn execute(&self, statement: &str) {
        wait(sqlx::query(statement).execute(&self.pool)).expect(statement);
    }

    /// Appends so many events to the log that change nothing, to the aggregate of the last event. They have no seal of their own,
    /// and no read model was told of them.
    pub(crate) fn lengthen_last_life(&self, events: u32) {
        self.execute(&format!(
            r#"with made as (
                 insert into events
                 select position + number, organization_id, organization_sequence + number, aggregate_type, aggregate_id,
                        sequence + number, 'identity.status_changed', '1',
                        '{{"type": "identity.status_changed", "status": "active"}}', metadata, recorded_at, leaf_hash
                 from (select * from events order by position desc limit 1) as last, generate_series(1, {events}) as number
                 returning organization_id
             ), moved as (
                 update organization_heads set sequence = sequence + {events} where organization_id in (table made)
             )
             update log_head set position = position + {events}"#
        ));
    }

    /// Changes the database as its owner can, without triggers.
    pub(crate) fn tamper(&self, statements: &str) {
        self.execute(&format!(
            "do $$ begin set local session_replication_role = replica; {statements}; end $$"
        ));
    }

    /// Copies all tables into the schema `backup`, as a dump would.
    pub(crate) fn back_up(&self) {
        self.for_all_tables(
            "drop schema if exists backup cascade; create schema backup",
            "create table %1$s as table %2$s",
        );
    }

    /// Copies the tables back. Triggers do not run, as when a dump is loaded.
    pub(crate) fn restore(&self) {
        let statement =
            "set local session_replication_role = replica; delete from %2$s; insert into %2$s table %1$s";
        self.for_all_tables("select", statement);
    }

    fn for_all_tables(&self, first: &str, statement: &str) {
        let script = format!(
            "do $$
             declare named record;
             begin
                 execute '{first}';
                 for named in select schemaname, tablename from pg_tables where schemaname in ('public', 'read_model')
                 loop
                     execute format(
                         '{statement}',
                         format('backup.%I', named.schemaname || '_' || named.tablename),
                         format('%I.%I', named.schemaname, named.tablename)
                     );
                 end loop;
             end
             $$"
        );
        self.execute(&script);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        wait(self.pool.close());
        wait(self.server.remove(&self.name));
    }
}
