//! Indexes that are made when a table is full: sorting once is several times faster than to insert every row.

use sqlx::{Executor as _, PgConnection};

/// The indexes of tables that were put aside: the statements that make them again.
#[derive(Debug, Default)]
pub(super) struct PutAside(Vec<String>);

impl PutAside {
    /// Drops the indexes of a table, those of its keys included.
    pub(super) async fn add(
        &mut self,
        connection: &mut PgConnection,
        table: &str,
    ) -> Result<(), sqlx::Error> {
        let statements: Vec<(String, String)> = sqlx::query_as(
            "select format('alter table %s drop constraint %I', conrelid::regclass, conname),
                    format('alter table %s add constraint %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
             from pg_constraint
             where conrelid = to_regclass($1) and contype in ('p', 'u')
             union all
             select format('drop index %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
             from pg_index
             where indrelid = to_regclass($1) and indexrelid not in (select conindid from pg_constraint)",
        )
        .bind(table)
        .fetch_all(&mut *connection)
        .await?;
        for (drop, make) in statements {
            connection.execute(drop.as_str()).await?;
            self.0.push(make);
        }
        Ok(())
    }

    /// Makes them again.
    pub(super) async fn make(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        for statement in self.0 {
            connection.execute(statement.as_str()).await?;
        }
        Ok(())
    }
}
