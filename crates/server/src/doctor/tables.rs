//! The check that our tables have every index and constraint of the migrations, and that nothing of somebody else acts on them.

use anyhow::Context as _;
use sqlx::PgConnection;

use super::{Finding, content};

/// What the migrations make: a line for each index and constraint, as [`present`] finds it. A test compares the two.
pub const EXPECTED: &str = include_str!("tables.txt");

/// Indexes without their names, which a rebuild may change, and constraints, of all live tables. Those that are not valid do not
/// count.
const PRESENT: &str = "
    with ours as (
        select class.oid, format('%s.%s', nspname, relname) as name
        from pg_class as class join pg_namespace as namespace on namespace.oid = relnamespace
        where relkind = 'r' and nspname in ('public', 'read_model') and relname <> '_sqlx_migrations'
    )
    select name || case when indisunique then ' unique index' else ' index' end
           || substring(pg_get_indexdef(indexrelid) from ' USING .*$') as line
    from ours join pg_index on indrelid = ours.oid
    where indisvalid and indisready and indislive
    union
    select concat_ws(' ', name, pg_get_constraintdef(pg_constraint.oid))
    from ours join pg_constraint on conrelid = ours.oid
    where contype in ('c', 'f', 'x') and convalidated
    order by line";

/// Rules, triggers, policies and child tables of our tables. Postgres itself makes the triggers of foreign keys.
const FOREIGN: &str = "
    with ours as (
        select class.oid, format('%s.%s', nspname, relname) as name, nspname, relname, relrowsecurity
        from pg_class as class join pg_namespace as namespace on namespace.oid = relnamespace
        where relkind = 'r' and nspname in ('public', 'read_model') and relname = any($1)
    )
    select format('the rule %I on %s', rulename, name) as found
    from ours join pg_rewrite on ev_class = ours.oid
    union
    select format('the trigger %I on %s', tgname, name)
    from ours join pg_trigger on tgrelid = ours.oid
    where not tgisinternal
      and not exists (select from unnest($2::text[], $3::text[]) as guard (guarded, guard)
                      where (guarded, guard) = (relname, tgname) and nspname = 'public')
    union
    select format('row level security on %s', name) from ours where relrowsecurity
    union
    select format('the table %s, a child of %s', inhrelid::regclass, name)
    from ours join pg_inherits on inhparent = ours.oid
    order by found";

/// All indexes and constraints that there are.
pub async fn present(connection: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    sqlx::query_scalar(PRESENT).fetch_all(connection).await.context("cannot look up indexes and constraints")
}

pub(super) async fn tables(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let present = present(&mut *connection).await?;
    let names: Vec<&str> = EXPECTED.lines().filter_map(table_of).collect();
    let is_there = "select name from unnest($1::text[]) as name where to_regclass(name) is not null";
    let there: Vec<String> = sqlx::query_scalar(is_there).bind(&names).fetch_all(&mut *connection).await?;
    let is_missing = |line: &&str| {
        // Another check tells of tables that are missing.
        let is_of_table = table_of(line).is_some_and(|table| there.iter().any(|name| name == table));
        is_of_table && !present.iter().any(|found| found == line)
    };
    let missing: Vec<&str> = EXPECTED.lines().filter(is_missing).collect();
    let foreign = foreign(connection, &names).await?;
    let mut faults = vec![];
    if !missing.is_empty() {
        faults.push(format!(
            "missing or not valid: {}. Make them again as the migrations make them: without them writes fail, or take what \
             contradicts itself",
            missing.join("; ")
        ));
    }
    if !foreign.is_empty() {
        faults.push(format!(
            "{} can change or drop what is written: find out who made it, and drop it",
            foreign.join(", ")
        ));
    }
    Ok(if faults.is_empty() {
        Finding::good("all indexes and constraints are there, and nothing else acts on the tables")
    } else {
        Finding::bad(faults.join("; "))
    })
}

fn table_of(line: &str) -> Option<&str> {
    line.split(' ').next()
}

async fn foreign(connection: &mut PgConnection, tables: &[&str]) -> anyhow::Result<Vec<String>> {
    let names: Vec<&str> = tables.iter().filter_map(|table| Some(table.split_once('.')?.1)).collect();
    let (guarded, guards) = content::guards();
    let found =
        sqlx::query_scalar(FOREIGN).bind(names).bind(guarded).bind(guards).fetch_all(connection).await;
    found.context("cannot look up what acts on the tables")
}
