//! A database of a test's own, gone with the test.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::{postgres, wait};

/// A migrated database that nobody else uses.
#[derive(Debug)]
pub(crate) struct Database {
    name: String,
    url: String,
    pool: PgPool,
}

impl Database {
    /// Copies the template.
    pub(crate) fn create() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("identityd_test_{}_{count}", std::process::id());
        wait(postgres::shared().create(&name));
        let url = postgres::shared().url_of(&name);
        let pool = wait(PgPoolOptions::new().max_connections(2).connect(&url)).unwrap();
        Self { name, url, pool }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// One number, from a query of one row.
    pub(crate) fn number(&self, query: &str) -> i64 {
        wait(sqlx::query_scalar(query).fetch_one(&self.pool)).expect(query)
    }

    /// Changes behind the service's back, for what no caller can bring about.
    pub(crate) fn execute(&self, statement: &str) {
        wait(sqlx::query(statement).execute(&self.pool)).expect(statement);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        wait(self.pool.close());
        wait(postgres::shared().remove(&self.name));
    }
}
