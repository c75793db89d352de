//! The check that our tables and functions are those that the migrations make, and that nothing of somebody else acts on them.

use std::collections::BTreeSet;

use anyhow::Context as _;
use sqlx::PgConnection;

use super::{Finding, guards};

/// What the migrations make: a line for each table, column, index, constraint, trigger and function, as [`present`] finds it. A test
/// compares the two.
pub const EXPECTED: &str = include_str!("tables.txt");

/// What there is of live tables, and the functions in `public`: each line, and what it is called in SQL if it has a name of its own.
/// Lines have no names of indexes and constraints, since a rebuild may change them. An index that is not valid does not count, and
/// neither does a trigger that is off; a constraint that is not valid ends with `NOT VALID`.
const PRESENT: &str = "
    with ours as (
        select class.oid, format('%s.%s', nspname, relname) as name, relpersistence
        from pg_class as class join pg_namespace as namespace on namespace.oid = relnamespace
        where relkind = 'r' and nspname in ('public', 'read_model') and relname <> '_sqlx_migrations'
    )
    select name || case relpersistence when 'p' then ' survives a crash of Postgres' else ' is unlogged' end as line, null as object
    from ours
    union
    select concat_ws(' ', name, 'column', attname, format_type(atttypid, atttypmod),
                     'collate ' || nullif(nullif(collname, 'default'), ''), case when attnotnull then 'not null' end,
                     'generated ' || nullif(attidentity::text || attgenerated::text, ''),
                     'default ' || replace(pg_get_expr(adbin, adrelid), 'pg_catalog.', '')),
           null
    from ours
    join pg_attribute on attrelid = ours.oid
    left join pg_collation on pg_collation.oid = attcollation
    left join pg_attrdef on adrelid = ours.oid and adnum = attnum
    where attnum > 0 and not attisdropped
    union
    select name || case when indisunique then ' unique index' else ' index' end
           || substring(pg_get_indexdef(indexrelid) from ' USING .*$') || case when not indimmediate then ' deferrable' else '' end,
           format('the index %s', indexrelid::regclass)
    from ours join pg_index on indrelid = ours.oid
    where indisvalid and indisready and indislive
    union
    select concat_ws(' ', name, pg_get_constraintdef(pg_constraint.oid)), format('the constraint %I', conname)
    from ours join pg_constraint on conrelid = ours.oid
    where contype in ('c', 'f', 'x')
    union
    select concat_ws(' ', name, pg_get_triggerdef(pg_trigger.oid)), null
    from ours join pg_trigger on tgrelid = ours.oid
    where not tgisinternal and tgenabled in ('O', 'A')
    union
    select format('function %s(%s) %s', proname, pg_get_function_identity_arguments(oid), encode(sha256(convert_to(pg_get_functiondef(oid), 'UTF8')), 'hex')),
           null
    from pg_proc
    where pronamespace = to_regnamespace('public') and prokind = 'f'
    order by line";

/// Indexes that are not unique and can make a write fail: those that compute something, and those that have a column of unlimited size
/// that no valid index of ours has.
const FRAGILE: &str = "
    with ours as (
        select class.oid, format('%s.%s', nspname, relname) as name
        from pg_class as class join pg_namespace as namespace on namespace.oid = relnamespace
        where relkind = 'r' and nspname in ('public', 'read_model') and relname = any($1)
    ), present as (
        select name, indrelid, indexrelid, indisunique, indkey::int[] as columns, indexprs is not null or indpred is not null as computes,
               format('%s%s', name || case when indisunique then ' unique index' else ' index' end,
                      substring(pg_get_indexdef(indexrelid) from ' USING .*$')) as line
        from ours join pg_index on indrelid = ours.oid
    )
    select format('the index %s on %s', indexrelid::regclass, name)
    from present
    where not indisunique and line <> all($2)
      and (computes
           or exists (select from pg_attribute
                      where attrelid = indrelid and attnum = any(columns) and attlen < 0
                        and not exists (select from present as known
                                        where known.indrelid = present.indrelid and known.line = any($2) and attnum = any(known.columns))))
    order by 1";

/// Rules, triggers, policies and child tables of our tables, and foreign keys of other tables that lead to ours. Postgres itself makes
/// the triggers of foreign keys.
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
    union
    select format('the foreign key %I of the table %s, which leads to %s', conname, conrelid::regclass, name)
    from ours join pg_constraint on confrelid = ours.oid
    where contype = 'f' and conrelid not in (select oid from ours)
    order by found";

/// All lines that there are.
pub async fn present(connection: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    let mut lines: Vec<String> = named(connection).await?.into_iter().map(|(line, _)| line).collect();
    lines.dedup();
    Ok(lines)
}

/// The same, each with what it is called.
async fn named(connection: &mut PgConnection) -> anyhow::Result<Vec<(String, Option<String>)>> {
    sqlx::query_as(PRESENT).fetch_all(connection).await.context("cannot look up the tables")
}

/// Whether the line that begins like this is there as the migrations make it.
pub(super) fn is_as_made(present: &[String], beginning: &str) -> bool {
    let expected = EXPECTED.lines().find(|line| line.starts_with(beginning));
    expected.is_some_and(|expected| present.iter().any(|line| line == expected))
}

pub(super) async fn tables(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let found = named(&mut *connection).await?;
    let present: Vec<String> = found.iter().map(|(line, _)| line.clone()).collect();
    let names: BTreeSet<&str> = EXPECTED.lines().filter_map(table_of).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let missing = missing(connection, &present, &names).await?;
    let others: Vec<String> =
        found.iter().filter(|(line, _)| is_of_others(line, &names)).map(said_with_name).collect();
    let (foreign, fragile) = (foreign(connection, &names).await?, fragile(connection, &names).await?);
    let mut faults = vec![];
    if !missing.is_empty() {
        faults.push(format!(
            "missing, changed or not valid: {}. Make them again as the migrations make them: without them writes fail, or take what \
             contradicts itself, or a crash of Postgres empties a table",
            missing.join("; ")
        ));
    }
    if !others.is_empty() {
        faults.push(format!(
            "not made by the migrations: {}. Writes may fail because of it: find out who made it, and drop it or change it back",
            others.join("; ")
        ));
    }
    if !fragile.is_empty() {
        faults.push(format!(
            "{} can make writes fail, since it computes something or has a column of unlimited size: find out who made it, and drop it",
            fragile.join(", ")
        ));
    }
    if !foreign.is_empty() {
        faults.push(format!(
            "{} can refuse, change or drop what is written: find out who made it, and drop it",
            foreign.join(", ")
        ));
    }
    Ok(if faults.is_empty() {
        Finding::good("all are as the migrations make them, and nothing else acts on them")
    } else {
        Finding::bad(faults.join("; "))
    })
}

/// What the migrations make and is not there. Other checks tell of tables that are missing, and of triggers with their functions.
async fn missing(
    connection: &mut PgConnection,
    present: &[String],
    names: &[&str],
) -> anyhow::Result<Vec<&'static str>> {
    let is_there = "select name from unnest($1::text[]) as name where to_regclass(name) is not null";
    let there: Vec<String> = sqlx::query_scalar(is_there).bind(names).fetch_all(connection).await?;
    let is_missing = |line: &&str| {
        let is_looked_at = table_of(line).is_none_or(|table| there.iter().any(|name| name == table))
            && !guards::is_of_guard(line);
        is_looked_at && !present.iter().any(|found| found == line)
    };
    Ok(EXPECTED.lines().filter(is_missing).collect())
}

/// Whether something that the migrations do not make can make a write fail: anything of our tables but an index that is not unique.
/// Triggers are looked up by [`foreign`].
fn is_of_others(line: &str, names: &[&str]) -> bool {
    let is_of_table = table_of(line).is_some_and(|table| names.contains(&table));
    let is_harmless = line.contains(" index USING ") && !line.contains(" unique index USING ");
    is_of_table
        && !is_harmless
        && !line.contains(" CREATE ")
        && !EXPECTED.lines().any(|expected| expected == line)
}

/// A line with the name of what it is about.
fn said_with_name((line, object): &(String, Option<String>)) -> String {
    object.as_ref().map_or_else(|| line.clone(), |object| format!("{object} ({line})"))
}

/// The table of a line; none if it is of a function.
fn table_of(line: &str) -> Option<&str> {
    line.split(' ').next().filter(|name| *name != "function")
}

fn without_schema<'a>(tables: &[&'a str]) -> Vec<&'a str> {
    tables.iter().filter_map(|table| Some(table.split_once('.')?.1)).collect()
}

async fn fragile(connection: &mut PgConnection, tables: &[&str]) -> anyhow::Result<Vec<String>> {
    let expected: Vec<&str> = EXPECTED.lines().collect();
    let found = sqlx::query_scalar(FRAGILE).bind(without_schema(tables)).bind(expected).fetch_all(connection);
    found.await.context("cannot look up the indexes")
}

async fn foreign(connection: &mut PgConnection, tables: &[&str]) -> anyhow::Result<Vec<String>> {
    let names = without_schema(tables);
    let (guarded, guards) = guards::names();
    let found =
        sqlx::query_scalar(FOREIGN).bind(names).bind(guarded).bind(guards).fetch_all(connection).await;
    found.context("cannot look up what acts on the tables")
}
