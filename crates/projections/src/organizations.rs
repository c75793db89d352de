//! Organizations, for operators.

use std::collections::HashMap;

use identity_domain::organization::Event;
use identity_domain::{self as domain, Kind};
use identity_log::copy::CopyWriter;
use identity_log::{Fold, ReadModelFailure, Recorded, Writes};
use sqlx::{FromRow, PgConnection, PgExecutor};
use time::OffsetDateTime;

use crate::change::Change;
use crate::columns::{self, Column, TableRow as _, table_row};
use crate::projection::{LoadedFold, LoadedModel, Projection};

/// The read model.
#[derive(Debug)]
pub struct Organizations;

table_row! {
    /// The row of an organization.
    #[derive(Debug, Clone, PartialEq, Eq, FromRow)]
    pub struct Row {
        /// Its id.
        pub id: String,
        /// Its name.
        pub name: String,
        /// When it was created.
        pub created_at: OffsetDateTime,
    }
}

impl Projection for Organizations {
    const NAME: &'static str = "organizations";
    const VERSION: i32 = 1;
    const KIND: Kind = Kind::Organization;
    type Row = Row;

    fn fold(row: Option<Row>, recorded: &Recorded) -> Option<Row> {
        let domain::Event::Organization(event) = &recorded.event else {
            return row;
        };
        match event {
            Event::Created { name } => Some(Row {
                id: recorded.aggregate_id.clone(),
                name: name.clone(),
                created_at: recorded.recorded_at,
            }),
        }
    }

    const COLUMNS: &'static [Column] = Row::COLUMNS;

    fn copy(_id: &str, row: &Row, writer: &mut CopyWriter) -> Result<(), ReadModelFailure> {
        row.copy(writer);
        Ok(())
    }

    fn live() -> Box<dyn Fold> {
        Box::new(LoadedFold::<Self>::default())
    }
}

impl LoadedModel for Organizations {
    async fn load(
        connection: &mut PgConnection,
        ids: &[&str],
    ) -> Result<HashMap<String, Row>, ReadModelFailure> {
        let rows: Vec<Row> = columns::load(connection, Self::NAME, ids).await?;
        Ok(rows.into_iter().map(|row| (row.id.clone(), row)).collect())
    }

    fn store(changes: &[Change<Row>], writes: &mut Writes) -> Result<(), ReadModelFailure> {
        columns::store(Self::NAME, changes, writes)
    }
}

/// All organizations, oldest first.
pub async fn list(executor: impl PgExecutor<'_>) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as("select id, name, created_at from read_model.organizations order by created_at, id")
        .fetch_all(executor)
        .await
}

/// The organization with this id.
pub async fn find(executor: impl PgExecutor<'_>, id: &str) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as("select id, name, created_at from read_model.organizations where id = $1")
        .bind(id)
        .fetch_optional(executor)
        .await
}
