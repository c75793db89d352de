//! The live tables whose rows are compared.

use std::sync::Arc;

use identity_domain::Kind;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::difference::{Comparison, Difference};
use crate::job_error::JobError;
use crate::registry;
use crate::table::Table;
use crate::tables;

/// The read models, as far as this software can compare them.
pub(super) struct LiveTables {
    tables: Vec<Arc<dyn Table>>,
    missing: Vec<&'static str>,
    outdated: Vec<&'static str>,
}

impl LiveTables {
    /// Finds the tables that the folds of this software have made.
    pub(super) async fn find(pool: &PgPool) -> Result<Self, JobError> {
        let entries = registry::list(pool).await?;
        let mut found = Self { tables: vec![], missing: vec![], outdated: vec![] };
        for table in tables() {
            match entries.iter().find(|entry| entry.name == table.name()) {
                Some(entry) if !entry.is_there => found.missing.push(table.name()),
                Some(entry) if entry.version == table.version() => found.tables.push(table),
                _ => found.outdated.push(table.name()),
            }
        }
        Ok(found)
    }

    /// A comparison that has found only which tables there are.
    pub(super) fn begin(&self) -> Comparison {
        let mut found = Comparison { outdated: self.outdated.clone(), ..Comparison::default() };
        found.extend(self.missing.iter().map(|name| Difference {
            what: "read_model",
            id: (*name).to_owned(),
            how: "there is no table of it".to_owned(),
        }));
        found
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &dyn Table> {
        self.tables.iter().map(AsRef::as_ref)
    }

    /// The tables that are folded from aggregates of a type.
    pub(super) fn of(&self, kind: Kind) -> Vec<&dyn Table> {
        self.all().filter(|table| table.selection().kind == kind).collect()
    }
}

/// Begins to read these tables and the log in one snapshot. The tables are locked before the snapshot is taken, so that no swap
/// comes between: a table that becomes live after the snapshot looks empty in it.
pub(super) async fn snapshot<'a>(
    pool: &'a PgPool,
    tables: &[&dyn Table],
) -> Result<Transaction<'a, Postgres>, JobError> {
    let mut transaction = pool.begin_with("begin isolation level repeatable read read only").await?;
    execute(&mut transaction, "set local search_path = read_model, public").await?;
    if !tables.is_empty() {
        let names: Vec<String> = tables.iter().map(|table| format!("read_model.{}", table.name())).collect();
        let lock = format!("lock table {} in access share mode", names.join(", "));
        execute(&mut transaction, &lock).await?;
    }
    Ok(transaction)
}

async fn execute(connection: &mut PgConnection, statement: &str) -> Result<(), JobError> {
    sqlx::raw_sql(statement).execute(connection).await?;
    Ok(())
}
