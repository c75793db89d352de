//! The statements that make the tables of read models, as the owner of the database has written them down.
//!
//! A job may run under a role that owns nothing. It calls functions of the database, which carry out the statements for the
//! version of a fold with the rights of the owner (migration 0076).

use sqlx::PgConnection;

use crate::tables;

/// The statements of this software: name and version of each read model, the statement that makes its table, and those that
/// make its indexes.
struct Shapes {
    names: Vec<&'static str>,
    versions: Vec<i32>,
    tables: Vec<String>,
    /// The statements of one read model, joined by [`SEPARATOR`]: Postgres has no array of arrays of different lengths.
    indexes: Vec<String>,
}

/// What no statement contains.
const SEPARATOR: &str = ";";

impl Shapes {
    fn known() -> Self {
        let tables = tables();
        let shapes: Vec<_> = tables.iter().map(|table| table.shape()).collect();
        Self {
            names: tables.iter().map(|table| table.name()).collect(),
            versions: tables.iter().map(|table| table.version()).collect(),
            tables: shapes.iter().map(crate::columns::Shape::create).collect(),
            indexes: shapes.iter().map(|shape| shape.indexes().join(SEPARATOR)).collect(),
        }
    }
}

/// Whether the database has the statements of this software.
pub async fn are_written(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let Shapes { names, versions, tables, indexes } = Shapes::known();
    sqlx::query_scalar(
        "select not exists (
             select name, version, make_table, string_to_array(indexes, $5)
             from unnest($1::text[], $2::integer[], $3::text[], $4::text[]) as known (name, version, make_table, indexes)
             except
             select name, version, make_table, indexes from read_model_shapes)",
    )
    .bind(names)
    .bind(versions)
    .bind(tables)
    .bind(indexes)
    .bind(SEPARATOR)
    .fetch_one(connection)
    .await
}

/// Writes the statements of this software. Those of other versions stay: an older process may still run.
pub async fn write(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let Shapes { names, versions, tables, indexes } = Shapes::known();
    sqlx::query(
        "insert into read_model_shapes (name, version, make_table, indexes)
         select name, version, make_table, string_to_array(indexes, $5)
         from unnest($1::text[], $2::integer[], $3::text[], $4::text[]) as known (name, version, make_table, indexes)
         on conflict on constraint read_model_shapes_pkey do update
             set make_table = excluded.make_table, indexes = excluded.indexes",
    )
    .bind(names)
    .bind(versions)
    .bind(tables)
    .bind(indexes)
    .bind(SEPARATOR)
    .execute(connection)
    .await
    .map(drop)
}
