//! The role that serves: what it must not be able to do, whatever statement it sends, and that everything the service does is
//! within its rights. Every other test runs the service under this role, too.

use std::sync::atomic::AtomicU64;

use identity_projections::rebuild::{self, Phase, Progress, Settings};
use identity_projections::tables;
use identityd::backup;
use identityd::backup::tables::TABLES;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::harness::{Database, World, wait};
use crate::schema::use_everything;

/// The SQLSTATE of a statement that the role may not send.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Tables of which the log promises that rows do not change or go, with what nobody who serves may do.
const PROMISED: [(&str, &[&str]); 7] = [
    ("events", &["UPDATE", "DELETE"]),
    ("signing_key_introductions", &["UPDATE", "DELETE"]),
    ("checkpoints", &["UPDATE", "DELETE"]),
    ("organization_heads", &["DELETE"]),
    ("_sqlx_migrations", &["INSERT", "UPDATE", "DELETE"]),
    ("read_model_shapes", &["INSERT", "UPDATE", "DELETE"]),
    ("restore_under_way", &["INSERT", "UPDATE", "DELETE"]),
];

/// A database, and a connection of the role that serves.
struct Intruder {
    database: Database,
    connection: PgConnection,
}

impl Intruder {
    fn new() -> Self {
        let database = Database::with_home();
        let connection = wait(PgConnection::connect(database.url())).unwrap();
        Self { database, connection }
    }

    /// The SQLSTATE with which Postgres refuses a statement; none if it does not.
    fn refused(&mut self, statement: &str) -> Option<String> {
        let outcome = wait(self.connection.execute(statement));
        outcome.err().map(|error| error.into_database_error().unwrap().code().unwrap().into_owned())
    }

    #[track_caller]
    fn may_not(&mut self, statement: &str) {
        assert_eq!(self.refused(statement).as_deref(), Some(INSUFFICIENT_PRIVILEGE), "{statement}");
    }

    /// Names from the catalogs, as SQL.
    fn names(&self, query: &str) -> Vec<String> {
        let names: Vec<String> =
            wait(sqlx::query_scalar(query).fetch_all(self.database.pool())).expect(query);
        assert!(!names.is_empty(), "{query}");
        names
    }

    /// Everything that protects the history, and the history.
    fn protection(&self) -> Vec<String> {
        self.names(
            "select concat_ws(' ', tgname, tgenabled, tgrelid::regclass) from pg_trigger where not tgisinternal
             union all
             select concat_ws(' ', oid::regclass, relowner::regrole) from pg_class where relnamespace = 'public'::regnamespace
             union all
             select concat_ws(' ', oid::regprocedure, proowner::regrole, md5(prosrc)) from pg_proc
             where pronamespace = 'public'::regnamespace
             union all
             select to_jsonb(events)::text from events
             order by 1",
        )
    }
}

/// Schemas that are not those of Postgres.
const SCHEMAS: &str = "nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and nspname !~ '^pg_'";

#[test]
fn no_table_can_be_changed_emptied_or_dropped_by_the_role_that_serves() {
    let mut intruder = Intruder::new();
    let before = intruder.protection();
    let tables = intruder.names(&format!(
        "select format('%I.%I', nspname, relname) from pg_class join pg_namespace as namespace on namespace.oid = relnamespace
         where relkind in ('r', 'p', 'v', 'm') and {SCHEMAS}"
    ));
    assert!(tables.len() > 25, "{tables:?}");
    for table in tables {
        for statement in [
            format!("drop table {table} cascade"),
            format!("truncate {table}"),
            format!("truncate {table} cascade"),
            format!("alter table {table} disable trigger all"),
            format!("alter table {table} disable trigger user"),
            format!("alter table {table} disable rule mine"),
            format!("alter table {table} add column mine text"),
            format!("alter table {table} rename to mine"),
            format!("alter table {table} set schema read_model_next"),
            format!("alter table {table} owner to current_user"),
            format!("alter table {table} enable row level security"),
            format!(
                "create trigger mine before insert on {table} for each row execute function suppress_redundant_updates_trigger()"
            ),
            format!("create rule mine as on insert to {table} do instead nothing"),
            format!("create index mine on {table} ((true))"),
            format!("create policy mine on {table}"),
        ] {
            intruder.may_not(&statement);
        }
    }
    intruder.may_not("drop trigger events_are_immutable on events");
    assert_eq!(intruder.protection(), before);
}

#[test]
fn rows_that_the_log_promises_to_keep_cannot_be_changed() {
    let mut intruder = Intruder::new();
    for (table, promised) in PROMISED {
        let granted = TABLES.iter().find(|known| known.name == table).unwrap().rights;
        assert!(!promised.iter().any(|right| granted.contains(right)), "{table} is granted {granted:?}");
    }
    for table in TABLES {
        let column = intruder.names(&format!(
            "select quote_ident(attname) from pg_attribute
             where attrelid = '{}'::regclass and attnum > 0 and not attisdropped order by attnum limit 1",
            table.name
        ));
        let (name, column) = (table.name, column.concat());
        for (right, statement) in [
            ("INSERT", format!("insert into {name} select * from {name}")),
            ("UPDATE", format!("update {name} set {column} = {column}")),
            ("DELETE", format!("delete from {name}")),
        ] {
            if !table.rights.contains(&right) {
                intruder.may_not(&statement);
            }
        }
    }
}

#[test]
fn nothing_can_be_put_in_the_place_of_what_protects_the_history() {
    let mut intruder = Intruder::new();
    let before = intruder.protection();
    for schema in intruder.names(&format!("select quote_ident(nspname) from pg_namespace where {SCHEMAS}")) {
        for statement in [
            format!("create table {schema}.mine ()"),
            format!("create view {schema}.mine as select 1"),
            format!(
                "create function {schema}.clock_timestamp() returns timestamptz language sql as 'select now()'"
            ),
            format!("create operator {schema}.= (leftarg = text, rightarg = text, function = texteq)"),
            format!("drop schema {schema} cascade"),
            format!("alter schema {schema} rename to mine"),
            format!("alter schema {schema} owner to current_user"),
        ] {
            intruder.may_not(&statement);
        }
    }
    let functions = "select oid::regprocedure::text from pg_proc where pronamespace = 'public'::regnamespace";
    for function in intruder.names(functions) {
        intruder.may_not(&format!("drop function {function} cascade"));
        intruder.may_not(&format!("alter function {function} owner to current_user"));
        intruder.may_not(&format!("alter function {function} reset all"));
    }
    let (name, owner) =
        (intruder.database.text("select current_database()"), intruder.database.text("select current_user"));
    for statement in [
        "create or replace function refuse_change_of_history() returns trigger language plpgsql as 'begin return null; end'",
        "set session_replication_role = replica",
        "create schema mine",
        "create extension file_fdw",
        "create role mine",
        "alter role current_user superuser",
        "alter system set fsync = off",
        "copy events to program 'true'",
        "do $$ begin execute 'alter table events disable trigger all'; end $$",
        &format!("drop owned by {owner}"),
        &format!("reassign owned by {owner} to current_user"),
        &format!("set role {owner}"),
        &format!("set session authorization {owner}"),
        &format!("grant {owner} to current_user"),
        &format!("alter database {name} owner to current_user"),
        &format!("alter database {name} set search_path = mine"),
        &format!("drop database {name}"),
    ] {
        intruder.may_not(statement);
    }
    assert_eq!(intruder.protection(), before);
}

// What these functions do, they do with the rights of the owner.
#[test]
fn the_functions_of_the_owner_touch_read_models_alone() {
    let mut intruder = Intruder::new();
    let before = intruder.protection();
    for call in [
        "move_read_model('events', 'public', 'read_model_discarded')",
        "move_read_model('identities', 'read_model', 'public')",
        "move_read_model('identities', 'read_model', null)",
        "drop_read_model('events', 'public')",
        "drop_read_model('identities', 'read_model')",
        "drop_read_model('events', 'read_model_next, public')",
        "make_read_model('events', 1)",
        "index_read_model('events', 1)",
        "finish_read_model('events')",
    ] {
        assert!(intruder.refused(&format!("select {call}")).is_some(), "{call}");
    }
    let open = intruder.database.number(
        "select count(*) from pg_proc
         where prosecdef and pronamespace = 'public'::regnamespace
           and (proacl is null or proconfig is null or exists (select from aclexplode(proacl) where grantee = 0))",
    );
    assert_eq!(open, 0, "functions that everybody may call, or that look names up on a path of the caller");
    // Names are quoted, and a table of a session is not taken for that of the owner.
    assert_eq!(
        intruder.refused("select drop_read_model('x; drop table public.events', 'read_model_next')"),
        None
    );
    let aside = "create temp table read_model_shapes as
                     select 'identities' as name, 99 as version, 'alter table public.events disable trigger all' as make_table,
                            array['drop table public.events'] as indexes;
                 set search_path = pg_temp, public";
    assert_eq!(intruder.refused(aside), None);
    for call in ["public.make_read_model('identities', 99)", "public.index_read_model('identities', 99)"] {
        assert_eq!(intruder.refused(&format!("select {call}")).as_deref(), Some("P0002"), "{call}");
    }
    assert_eq!(intruder.protection(), before);
}

fn nowhere_yet() -> watch::Sender<Progress> {
    watch::Sender::new(Progress { phase: Phase::Fold, done: 0, total: 0 })
}

#[test]
fn the_service_does_all_of_its_work_as_a_role_that_owns_nothing() {
    let world = World::new();
    let statuses = use_everything(&world, "first");
    assert!(statuses.iter().all(|status| *status < 500), "{statuses:?}");
    let roles = world.database().text(
        "select string_agg(distinct usename::text, ',') from pg_stat_activity
         where datname = current_database() and application_name like 'identityd%'",
    );
    assert_eq!(roles, "identityd_test_service");
    let options: PgConnectOptions = world.database().url().parse().unwrap();
    for table in tables() {
        let (progress, settings) = (nowhere_yet(), Settings { workers: 2, cut_over: true });
        let never = std::future::pending();
        wait(rebuild::rebuild_until(&options, table.clone(), settings, &progress, never)).unwrap();
        let verified = wait(rebuild::verify(&options, table.as_ref(), &AtomicU64::new(0))).unwrap();
        assert_eq!(verified.differences, [], "{}", table.name());
        let position = wait(rebuild::rollback(&options, table.as_ref())).unwrap().0;
        assert_eq!(position, verified.position);
    }
    let folder = TempDir::new().unwrap();
    let (head, _) = wait(backup::take::run(&options, &folder.path().join("backup"), |_, _| {})).unwrap();
    assert!(head.events > 10, "{head:?}");
    assert_eq!(use_everything(&world, "second"), statuses);
}

// A migration that adds a table cannot forget to say what the service may do to it.
#[test]
fn the_role_has_exactly_the_rights_of_the_list() {
    let database = Database::create();
    database.execute("create table public.new_table (id integer)");
    database.execute("grant truncate, trigger on events to identityd_test_service");
    wait(identityd::roles::rights::grant(database.pool(), "identityd_test_service")).unwrap();
    let rights = |table: &str| {
        database.text(&format!(
            "select coalesce(string_agg(privilege_type, ', ' order by privilege_type), 'none')
             from information_schema.role_table_grants
             where grantee = 'identityd_test_service' and table_schema = 'public' and table_name = '{table}'"
        ))
    };
    assert_eq!(rights("new_table"), "none");
    assert_eq!(rights("events"), "INSERT, SELECT");
    for table in TABLES {
        let mut listed: Vec<_> = table.rights.iter().copied().filter(|right| !right.contains('(')).collect();
        listed.sort_unstable();
        assert_eq!(rights(table.name), listed.join(", "), "{}", table.name);
    }
}

// A process of an earlier version makes tables itself, as the owner.
#[test]
fn tables_that_the_owner_makes_to_be_cut_over_are_granted() {
    let database = Database::create();
    wait(identityd::roles::rights::grant(database.pool(), "identityd_test_service")).unwrap();
    database.execute("create table read_model_next.made_by_an_earlier_version (id integer)");
    let granted = database.number(
        "select count(*) from pg_class, aclexplode(relacl)
         where relname = 'made_by_an_earlier_version' and grantee = 'identityd_test_service'::regrole",
    );
    assert_eq!(granted, 4);
}

#[test]
fn signatures_stay() {
    let world = World::new();
    use_everything(&world, "first");
    let mut connection = wait(PgConnection::connect(world.database().url())).unwrap();
    let signed = world.database().number("select count(*) from checkpoints");
    assert!(signed > 0);
    for statement in ["update checkpoints set note = ''", "update checkpoints set note = 'x' || note"] {
        let error = wait(connection.execute(statement)).unwrap_err();
        let code = error.into_database_error().unwrap().code().unwrap().into_owned();
        assert_eq!(code, INSUFFICIENT_PRIVILEGE, "{statement}");
    }
    wait(connection.execute("insert into signing_key_introductions (old_key, note) values ('key', 'first')"))
        .unwrap();
    for note in ["", "second", "second"] {
        let statement = format!("update signing_key_introductions set note = '{note}' where old_key = 'key'");
        wait(connection.execute(statement.as_str())).unwrap();
    }
    let replaced = world
        .database()
        .text("select array_to_string(replaced, '|') from signing_key_introductions where old_key = 'key'");
    assert_eq!(replaced, "first|");
    // A dump reads the positions of sequences.
    wait(connection.execute("select last_value from signing_key_introductions_number_seq")).unwrap();
}

/// Only what readers of notes can read is added to a checkpoint, and only checkpoints that they can read are added: otherwise one
/// byte would end signing.
#[test]
fn checkpoints_stay_readable() {
    let world = World::new();
    use_everything(&world, "first");
    let mut connection = wait(PgConnection::connect(world.database().url())).unwrap();
    let mut code_of = |statement: &str| {
        let error = wait(connection.execute(statement)).err()?;
        Some(error.into_database_error().unwrap().code().unwrap().into_owned())
    };
    let (signature, cosignature) = (format!("{}A=", "A".repeat(90)), format!("{}A==", "A".repeat(101)));
    let line = |name: &str, base64: &str| format!("— {name} {base64}\n");
    let long = "x".repeat(500);
    for added in [
        "x".to_owned(),
        "\n".to_owned(),
        "— witness".to_owned(),
        line("witness", &signature).trim_end().to_owned(),
        line("witness", ""),
        line("witness", "AAAA"),
        line("witness", &signature.replace("A=", "B=")),
        line("witness", &cosignature.replace("A==", "B==")),
        line("wit+ness", &signature),
        line("wit ness", &signature),
        line("wit\u{a0}ness", &signature),
        line("wit\u{3}ness", &signature),
        line("", &signature),
        line(&long, &signature),
        format!("{}x", line("witness", &signature)),
        format!("\n{}", line("witness", &signature)),
        line("witness", &signature).repeat(64),
    ] {
        let added = format!("update checkpoints set note = note || '{added}'");
        assert_eq!(code_of(&added).as_deref(), Some(INSUFFICIENT_PRIVILEGE), "{added}");
    }
    for added in [line("witness.example/müller", &signature), line("other", &cosignature).repeat(2)] {
        assert_eq!(code_of(&format!("update checkpoints set note = note || '{added}'")), None, "{added}");
    }
    let insert = |changes: [&str; 4]| {
        let [epoch, size, root, note] = changes;
        format!(
            "insert into checkpoints (organization_id, epoch, size, root, note)
             (select organization_id, {epoch}, {size}, {root}, {note} from checkpoints limit 1)"
        )
    };
    let well_formed = "'identityd/' || organization_id || '/7' || E'\\n3\\n' || encode(root, 'base64')
                       || substr(note, strpos(note, E'\\n\\n'))";
    let of_other_epoch = well_formed.replace("/7", "/9223372036854775807");
    for changes in [
        ["7", "4", "root", well_formed],
        ["8", "3", "root", well_formed],
        ["7", "3", "sha256('')", well_formed],
        ["7", "3", "root", "note"],
        ["7", "3", "root", "'x'"],
        ["9223372036854775807", "3", "root", &of_other_epoch],
        ["7", "3", "root", &format!("{well_formed} || 'x'")],
    ] {
        let statement = insert(changes);
        assert_eq!(code_of(&statement).as_deref(), Some(INSUFFICIENT_PRIVILEGE), "{statement}");
    }
    assert_eq!(code_of(&insert(["7", "3", "root", well_formed])), None);
}
