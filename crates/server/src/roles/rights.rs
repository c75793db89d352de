//! What the role that serves is granted, computed from one list after every migration: a table of which the list knows nothing is
//! not granted, and a right of which it knows nothing is taken away.

use std::collections::BTreeSet;

use anyhow::Context as _;
use identity_projections::rebuild::SCHEMAS;
use sqlx::{Executor as _, PgConnection, PgPool};

use crate::backup::tables::{ALL, TABLES};

/// Functions that do for the role what it may not do itself, and all functions of ours that it calls.
const FUNCTIONS: [&str; 5] =
    ["make_read_model", "index_read_model", "finish_read_model", "move_read_model", "drop_read_model"];

/// What the name of a table begins with that is being built.
const NEXT: &str = "table read_model_next.";

/// A right: what it is on (`table public.events`), and its name in SQL (`SELECT`).
type Right = (String, String);

/// Grants what a role needs, and takes away what it has beyond that. Nothing is written if nothing is to be done.
pub async fn grant(owner: &PgPool, role: &str) -> anyhow::Result<()> {
    let mut connection = owner.acquire().await.context("cannot connect as the owner")?;
    grant_with(&mut connection, role).await.with_context(|| format!("cannot grant rights to {role}"))
}

/// The same on a connection of the owner.
pub async fn grant_with(connection: &mut PgConnection, role: &str) -> Result<(), sqlx::Error> {
    let mut transaction = super::begin(connection).await?;
    if statements(&mut transaction, role).await?.is_empty() {
        return Ok(());
    }
    // Two processes that change the same right at once would fail.
    transaction.execute("select pg_advisory_xact_lock(hashtext('identityd rights'))").await?;
    for statement in statements(&mut transaction, role).await? {
        transaction.execute(statement.as_str()).await?;
    }
    transaction.commit().await
}

/// Whether a role has exactly the rights that it needs.
pub async fn are_granted(connection: &mut PgConnection, role: &str) -> Result<bool, sqlx::Error> {
    Ok(wanted(connection).await? == granted(connection, role).await?)
}

/// The rights that a role lacks. A table that is being built does not count: whoever builds it makes it anew.
pub async fn missing(connection: &mut PgConnection, role: &str) -> Result<Vec<String>, sqlx::Error> {
    let (wanted, granted) = (wanted(connection).await?, granted(connection, role).await?);
    let missing = wanted.difference(&granted).filter(|(object, _)| !object.starts_with(NEXT));
    Ok(missing.map(|(object, right)| format!("{right} on {object}")).collect())
}

async fn statements(connection: &mut PgConnection, role: &str) -> Result<Vec<String>, sqlx::Error> {
    let (wanted, granted) = (wanted(connection).await?, granted(connection, role).await?);
    let role: String =
        sqlx::query_scalar("select quote_ident($1)").bind(role).fetch_one(&mut *connection).await?;
    let revoke = granted
        .difference(&wanted)
        .map(|(object, right)| format!("revoke {right} on {object} from {role} cascade"));
    let grant =
        wanted.difference(&granted).map(|(object, right)| format!("grant {right} on {object} to {role}"));
    Ok(revoke.chain(grant).collect())
}

/// What the role needs on what is there.
async fn wanted(connection: &mut PgConnection) -> Result<BTreeSet<Right>, sqlx::Error> {
    let objects: Vec<(String, String, String)> = sqlx::query_as(
        "select format('table %I.%I', nspname, relname), nspname::text, relname::text
         from pg_class join pg_namespace as namespace on namespace.oid = relnamespace
         where nspname = any($1) and relkind in ('r', 'p')
         union all
         select format('function %s', proc.oid::regprocedure), 'function', proname::text
         from pg_proc as proc
         where pronamespace = to_regnamespace('public') and proname = any($2)
         union all
         select format('schema %I', nspname), 'schema', nspname::text from pg_namespace where nspname = any($1)",
    )
    .bind(schemas())
    .bind(FUNCTIONS.to_vec())
    .fetch_all(connection)
    .await?;
    let rights = objects.iter().flat_map(|(object, kind, name)| {
        rights_on(kind, name).iter().map(move |right| (object.clone(), (*right).to_owned()))
    });
    Ok(rights.collect())
}

/// The rights on a table of a schema, on a function, or on a schema.
fn rights_on(kind: &str, name: &str) -> &'static [&'static str] {
    match kind {
        "function" => &["EXECUTE"],
        "schema" => &["USAGE"],
        "public" => TABLES.iter().find(|table| table.name == name).map_or(&[], |table| table.rights),
        // The tables of read models, whose rows follow from the log.
        _ => ALL,
    }
}

/// What was granted to the role itself. Everybody may use the schema `public`, unless somebody has changed that.
async fn granted(connection: &mut PgConnection, role: &str) -> Result<BTreeSet<Right>, sqlx::Error> {
    let rights: Vec<Right> = sqlx::query_as(
        "with role as (select oid from pg_roles where rolname = $3),
              ours as (select oid, nspname, nspacl from pg_namespace where nspname = any($1))
         select format('table %I.%I', nspname, relname), privilege_type
         from ours join pg_class on relnamespace = ours.oid, aclexplode(relacl), role
         where grantee = role.oid and relkind in ('r', 'p')
         union all
         select format('table %I.%I', nspname, relname), format('%s (%I)', privilege_type, attname)
         from ours
         join pg_class as class on relnamespace = ours.oid
         join pg_attribute on attrelid = class.oid, aclexplode(attacl), role
         where grantee = role.oid and relkind in ('r', 'p') and attacl is not null
         union all
         select format('function %s', proc.oid::regprocedure), privilege_type
         from pg_proc as proc, aclexplode(proacl), role
         where pronamespace = to_regnamespace('public') and proname = any($2) and grantee = role.oid
         union all
         select format('schema %I', nspname), privilege_type
         from ours, aclexplode(nspacl), role
         where grantee = role.oid or (grantee = 0 and privilege_type = 'USAGE')
         union all
         select format('database %I', datname), privilege_type
         from pg_database, aclexplode(datacl), role
         where datname = current_database() and grantee = role.oid and privilege_type = 'CREATE'",
    )
    .bind(schemas())
    .bind(FUNCTIONS.to_vec())
    .bind(role)
    .fetch_all(connection)
    .await?;
    Ok(rights.into_iter().collect())
}

/// The schemas of identityd.
pub(super) fn schemas() -> Vec<&'static str> {
    [&["public"][..], &SCHEMAS].concat()
}
