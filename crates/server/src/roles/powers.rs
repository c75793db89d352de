//! What a role could do to the history, whatever it was granted.

use sqlx::PgConnection;

/// The ways in which the role of this connection could switch off what protects the history, or take its place.
pub async fn powers(connection: &mut PgConnection) -> Result<Vec<&'static str>, sqlx::Error> {
    let (superuser, owner, database, roles, schema, rights): (bool, bool, bool, bool, bool, bool) = sqlx::query_as(
        "select rolsuper,
                coalesce(pg_has_role(relowner, 'MEMBER'), false),
                pg_has_role(datdba, 'MEMBER'),
                rolcreaterole and current_setting('server_version_num')::int < 160000,
                exists (select from pg_namespace
                        where (nspname = 'public' or nspname like 'read\\_model%') and has_schema_privilege(oid, 'CREATE')),
                coalesce(has_table_privilege(pg_class.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER'), false)
         from pg_roles
         join pg_database on datname = current_database()
         left join pg_class on pg_class.oid = to_regclass('events')
         where rolname = current_user",
    )
    .fetch_one(connection)
    .await?;
    if superuser {
        return Ok(vec!["is a superuser"]);
    }
    let found = [
        (owner, "owns the tables, or may act as their owner"),
        (database, "owns the database, or may act as its owner"),
        (roles, "may make itself a member of every role (createrole)"),
        (schema, "may make functions in our schemas"),
        (rights && !owner, "may change events"),
    ];
    Ok(found.into_iter().filter_map(|(could, how)| could.then_some(how)).collect())
}
