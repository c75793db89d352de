//! What a role could do to the history, whatever it was granted.

use sqlx::PgConnection;

use super::rights;
use crate::backup::tables::TABLES;

/// Tables of which nobody who serves may have more rights than the list says, by whatever way: everybody, a group, a default.
const WATCHED: [&str; 5] =
    ["events", "checkpoints", "signing_key_introductions", "read_model_shapes", "_sqlx_migrations"];

/// The ways in which the role of this connection could switch off what protects the history, or take its place.
pub async fn powers(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let (superuser, owner, database, roles, schema, objects, files): (bool, bool, bool, bool, bool, bool, bool) =
        sqlx::query_as(
            "select rolsuper,
                    coalesce(pg_has_role(relowner, 'MEMBER'), false),
                    pg_has_role(datdba, 'MEMBER'),
                    rolcreaterole and current_setting('server_version_num')::int < 160000,
                    exists (select from pg_namespace where nspname = any($1) and has_schema_privilege(oid, 'CREATE')),
                    exists (select from pg_class as class join pg_namespace as namespace on namespace.oid = class.relnamespace
                            where nspname = any($1) and pg_has_role(class.relowner, 'MEMBER'))
                    or exists (select from pg_proc join pg_namespace as namespace on namespace.oid = pronamespace
                               where nspname = any($1) and pg_has_role(proowner, 'MEMBER')),
                    pg_has_role('pg_execute_server_program', 'MEMBER') or pg_has_role('pg_write_server_files', 'MEMBER')
             from pg_roles
             join pg_database on datname = current_database()
             left join pg_class on pg_class.oid = to_regclass('public.events')
             where rolname = current_user",
        )
        .bind(rights::schemas())
        .fetch_one(&mut *connection)
        .await?;
    if superuser {
        return Ok(vec!["is a superuser".to_owned()]);
    }
    let found = [
        (owner, "owns the tables, or may act as their owner"),
        (database, "owns the database, or may act as its owner"),
        (roles, "may make itself a member of every role (createrole)"),
        (schema, "may make functions in our schemas"),
        (objects && !owner, "owns tables or functions in our schemas, or may act as their owner"),
        (files, "may run programs or write files on the server of Postgres"),
    ];
    let mut powers: Vec<String> =
        found.into_iter().filter(|(could, _)| *could).map(|(_, how)| how.to_owned()).collect();
    if !owner {
        powers.extend(excess(connection).await?);
    }
    Ok(powers)
}

/// The rights on watched tables that the list does not have, by whatever way the role has them.
async fn excess(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let rights: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "with class as (select oid, relname from unnest($1::text[]) as name join pg_class on oid = to_regclass('public.' || name))
         select relname::text, privilege, null
         from class, unnest(array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) as privilege
         where has_table_privilege(oid, privilege)
         union all
         select relname::text, privilege, format('%s (%I)', privilege, attname)
         from class, pg_attribute, unnest(array['INSERT', 'UPDATE', 'REFERENCES']) as privilege
         where attrelid = oid and attnum > 0 and not attisdropped
           and has_any_column_privilege(oid, privilege) and not has_table_privilege(oid, privilege)
           and has_column_privilege(oid, attnum, privilege)",
    )
    .bind(WATCHED.to_vec())
    .fetch_all(connection)
    .await?;
    let is_listed = |table: &str, right: &str| {
        TABLES.iter().any(|known| known.name == table && known.rights.contains(&right))
    };
    let excess = rights.into_iter().filter(|(table, right, of_column)| {
        !is_listed(table, right) && !of_column.as_ref().is_some_and(|right| is_listed(table, right))
    });
    Ok(excess
        .map(|(table, right, of_column)| format!("may change {table} ({})", of_column.unwrap_or(right)))
        .collect())
}
