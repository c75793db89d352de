//! What the role that serves is granted, computed from one list after every migration: a table of which the list knows nothing is
//! not granted, and a right of which it knows nothing is taken away if it was granted to the role itself.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use identity_http::NeededRight;
use identity_projections::rebuild::{self, SCHEMAS};
use sqlx::{Executor as _, PgConnection, PgPool};

use crate::backup::tables::{self, ALL_RIGHTS, TABLES};

/// Functions that do for the role what it may not do itself, and all functions of ours that it calls.
const FUNCTIONS: [&str; 5] =
    ["make_read_model", "index_read_model", "finish_read_model", "move_read_model", "drop_read_model"];

/// A right: what it is on (`table public.events`), and its name in SQL (`SELECT`).
type Right = (String, String);

/// How often granting is tried if a rebuild moves tables meanwhile.
const MAX_ATTEMPTS: u32 = 20;

/// By how much the delay grows with each attempt.
const RETRY_DELAY_STEP: Duration = Duration::from_millis(50);

/// Grants what a role needs, and takes away what was granted to it directly beyond that. Nothing is written if nothing is to be
/// done.
pub async fn grant(owner: &PgPool, role: &str) -> anyhow::Result<()> {
    let mut connection = owner.acquire().await.context("cannot connect as the owner")?;
    grant_with(&mut connection, role).await.with_context(|| format!("cannot grant rights to {role}"))
}

/// The same on a connection of the owner.
pub async fn grant_with(connection: &mut PgConnection, role: &str) -> Result<(), sqlx::Error> {
    for attempt in 1..MAX_ATTEMPTS {
        match try_to_grant(connection, role).await {
            Err(error) if rebuild::is_of_another_job(&error) => {
                tokio::time::sleep(RETRY_DELAY_STEP * attempt).await;
            }
            outcome => return outcome,
        }
    }
    try_to_grant(connection, role).await
}

async fn try_to_grant(connection: &mut PgConnection, role: &str) -> Result<(), sqlx::Error> {
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
    let Rights { wanted, granted } = rights(connection, role).await?;
    Ok(wanted == granted)
}

/// The rights that a role lacks to serve. Tables that are being built, or that rest for a rollback, do not count: they come and go.
pub async fn missing(connection: &mut PgConnection, role: &str) -> Result<Vec<String>, sqlx::Error> {
    let Rights { wanted, granted } = rights(connection, role).await?;
    let missing = wanted.difference(&granted).filter(|(object, _)| !object.contains(" read_model_"));
    Ok(missing.map(|(object, right)| format!("{right} on {object}")).collect())
}

async fn statements(connection: &mut PgConnection, role: &str) -> Result<Vec<String>, sqlx::Error> {
    let Rights { wanted, granted } = rights(connection, role).await?;
    let role: String =
        sqlx::query_scalar("select quote_ident($1)").bind(role).fetch_one(&mut *connection).await?;
    let revoke = granted
        .difference(&wanted)
        .map(|(object, right)| change(object, &format!("revoke {right} on {object} from {role} cascade")));
    let grant = wanted
        .difference(&granted)
        .map(|(object, right)| change(object, &format!("grant {right} on {object} to {role}")));
    let future = default_rights(connection, &role).await?;
    Ok(revoke.chain(grant).chain(future).collect())
}

/// A change of rights. A cut-over takes the same lock of a table before it moves the table, so the two do not change its row at
/// once.
fn change(object: &str, statement: &str) -> String {
    if object.starts_with("table read_model") {
        format!("lock {object} in share update exclusive mode; {statement}")
    } else {
        statement.to_owned()
    }
}

/// The statement that grants rights on tables which an older version makes as the owner, if it is to be sent.
async fn default_rights(connection: &mut PgConnection, role: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select 'alter default privileges in schema read_model_next grant select, insert, update, delete on tables to ' || $1
         from pg_namespace
         where nspname = 'read_model_next'
           and not exists (select from pg_default_acl, aclexplode(defaclacl)
                           where defaclrole = current_user::regrole and defaclnamespace = pg_namespace.oid
                             and grantee = $1::regrole and privilege_type = 'DELETE')",
    )
    .bind(role)
    .fetch_optional(connection)
    .await
}

/// The rights that a role needs on what is there, and those that were granted to itself, in one snapshot of the database.
struct Rights {
    wanted: BTreeSet<Right>,
    granted: BTreeSet<Right>,
}

/// What there is: an object as SQL names it, and its kind (that of a table is its schema) and name.
const OBJECTS: &str = "
    select format('table %I.%I', nspname, relname) as object, nspname::text as kind, relname::text as name
    from pg_class join pg_namespace as namespace on namespace.oid = relnamespace
    where nspname = any($1) and relkind in ('r', 'p')
    union all
    select format('sequence %I.%I', nspname, relname), 'sequence', relname::text
    from pg_class join pg_namespace as namespace on namespace.oid = relnamespace
    where nspname = any($1) and relkind = 'S'
    union all
    select format('function %s', proc.oid::regprocedure), 'function', proname::text
    from pg_proc as proc
    where pronamespace = to_regnamespace('public') and proname = any($2)
    union all
    select format('schema %I', nspname), 'schema', nspname::text from pg_namespace where nspname = any($1)";

/// What was granted to the role itself. Everybody may use the schema `public`, unless somebody has changed that.
const GRANTED: &str = "
    with role as (select oid from pg_roles where rolname = $3),
         ours as (select oid, nspname, nspacl from pg_namespace where nspname = any($1))
    select format('%s %I.%I', case relkind when 'S' then 'sequence' else 'table' end, nspname, relname) as object, privilege_type as name
    from ours join pg_class on relnamespace = ours.oid, aclexplode(relacl), role
    where grantee = role.oid and relkind in ('r', 'p', 'S', 'v', 'm')
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
    where datname = current_database() and grantee = role.oid and privilege_type = 'CREATE'";

async fn rights(connection: &mut PgConnection, role: &str) -> Result<Rights, sqlx::Error> {
    let query = format!(
        "select object, kind, name from ({OBJECTS}) as objects union all select object, null, name from ({GRANTED}) as granted"
    );
    let rows: Vec<(String, Option<String>, String)> = sqlx::query_as(&query)
        .bind(schemas())
        .bind(FUNCTIONS.to_vec())
        .bind(role)
        .fetch_all(connection)
        .await?;
    let mut rights = Rights { wanted: BTreeSet::new(), granted: BTreeSet::new() };
    for (object, kind, name) in rows {
        match kind {
            Some(kind) => {
                let wanted = rights_on(&kind, &name).iter();
                rights.wanted.extend(wanted.map(|right| (object.clone(), (*right).to_owned())));
            }
            None => drop(rights.granted.insert((object, name))),
        }
    }
    Ok(rights)
}

/// Tables whose rows are in a backup, and which only the tasks that send webhooks use. Metrics tell of these tasks.
const OF_SENDING: [&str; 4] = ["webhook_cursor", "webhook_late", "webhook_queue", "webhook_endpoints"];

/// The rights without which requests fail: on tables whose rows are in a backup, and on the read models that requests need.
pub fn needed() -> Vec<NeededRight> {
    let read_models = identity_projections::tables().into_iter().filter(|table| table.is_needed());
    let read_models = read_models.map(|table| (format!("read_model.{}", table.name()), ALL_RIGHTS));
    let tables = tables::kept().filter(|table| !OF_SENDING.contains(&table.name));
    let tables = tables.map(|table| (format!("public.{}", table.name), table.rights));
    let of_table = |(table, rights): (String, &'static [&'static str])| {
        rights.iter().map(move |right| (table.clone(), *right))
    };
    read_models.chain(tables).flat_map(of_table).collect()
}

/// The rights on a table of a schema, a sequence, a function, or a schema.
fn rights_on(kind: &str, name: &str) -> &'static [&'static str] {
    match kind {
        "function" => &["EXECUTE"],
        // A dump reads them. Rows get their numbers without a right.
        "sequence" => &["SELECT"],
        "schema" => &["USAGE"],
        "public" => TABLES.iter().find(|table| table.name == name).map_or(&[], |table| table.rights),
        // The tables of read models, whose rows follow from the log.
        _ => ALL_RIGHTS,
    }
}

/// The schemas of identityd.
pub(super) fn schemas() -> Vec<&'static str> {
    [&["public"][..], &SCHEMAS].concat()
}
