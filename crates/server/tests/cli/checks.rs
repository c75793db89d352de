//! A database that is broken in one way after the other. The doctor names each fault. If the database cannot be served,
//! the service names it, too, and ends.

mod cases;

use identity_postgres::PrivatePostgres;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::runtime::Runtime;

use cases::{CASES, Case, SHADOWS};

use crate::harness::{Finished, Place, bare, run, run_to_end};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The names of the checks that failed.
fn failed(finished: &Finished) -> Vec<String> {
    let checks = finished.json();
    let checks = checks["checks"].as_array().unwrap().iter();
    checks
        .filter(|check| check["passed"] == false)
        .map(|check| check["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn whatever_can_be_seen_beforehand_is_seen() {
    let place = Place::served();
    place.run(&["org", "create", "acme"]).succeeded();
    // The service signs all events when it ends.
    assert!(place.serve().stop().success());
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    let runtime = runtime();
    // One connection for all cases: settings of a role apply to later connections only.
    let mut database = runtime.block_on(PgConnection::connect(&postgres.url())).unwrap();
    let mut does = |statements: &str| runtime.block_on(database.execute(statements)).map(drop).unwrap();
    let doctor = || place.run(&["doctor", "--json"]);
    assert_eq!(failed(&doctor().succeeded()), Vec::<String>::new());
    for Case { check, refuses, breaks, heals } in CASES {
        let hides_a_function = breaks.contains("function");
        if hides_a_function {
            does(SHADOWS);
        }
        does(breaks);
        let found = doctor();
        assert_eq!(failed(&found).join(" "), check, "{breaks}: {}", found.stdout);
        let number = check.split(' ').count();
        // Postgres may print a warning about a collation first.
        assert_eq!(found.stderr.lines().last(), Some(&*format!("error: {number} of 34 checks failed")));
        assert_eq!(found.status.code(), Some(1));
        assert!(
            !found.stdout.contains("to identityd_service"),
            "the role that serves gets no right: {}",
            found.stdout
        );
        if refuses {
            let started =
                run_to_end(place.command(&["serve", "--listen", "127.0.0.1:0"]).env("RUST_LOG", "off"));
            let expected = format!("this database cannot be served ({check}): ");
            assert!(started.error().starts_with(&expected), "{breaks}: {}", started.stderr);
        }
        does(heals);
        if hides_a_function {
            does("alter role identityd_service reset search_path");
        }
    }
    place.run(&["projections", "rebuild", "--all"]).succeeded();
    assert_eq!(failed(&doctor().succeeded()), Vec::<String>::new(), "a rebuild makes the same tables");
    drop(database);
    postgres.close().unwrap();
    assert!(place.serve().stop().success());
}

/// Objects of somebody else, with the statements that make and drop them.
const OBJECTS: [(&str, &str, &str); 5] = [
    (
        "the constraint no_zz",
        "alter table name_claims add constraint no_zz check (name !~ 'zz')",
        "alter table name_claims drop constraint no_zz",
    ),
    (
        "the index read_model.one_label",
        "create unique index one_label on read_model.api_keys (label)",
        "drop index read_model.one_label",
    ),
    ("the index by_type", "create index by_type on events ((payload->>'type'))", "drop index by_type"),
    (
        "the foreign key picture_of of the table pictures",
        "create table pictures (id uuid constraint picture_of references read_model.identities (id))",
        "drop table pictures",
    ),
    (
        "the trigger seeing",
        "create trigger seeing before update on name_claims for each row execute function suppress_redundant_updates_trigger()",
        "drop trigger seeing on name_claims",
    ),
];

#[test]
fn whatever_somebody_else_has_put_on_a_table_is_named_and_harmless_indexes_are_not() {
    let place = Place::served();
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    let runtime = runtime();
    let mut database = runtime.block_on(PgConnection::connect(&postgres.url())).unwrap();
    let mut does = |statement: &str| runtime.block_on(database.execute(statement)).map(drop).unwrap();
    does("create index harmless on events (organization_id, recorded_at)");
    place.run(&["doctor"]).succeeded();
    for (name, makes, drops) in OBJECTS {
        does(makes);
        let found = place.run(&["doctor"]);
        let is_named = |line: &str| line.starts_with("FAILED  tables: ") && line.contains(name);
        assert!(found.stdout.lines().any(is_named), "{name}: {}", found.stdout);
        does(drops);
    }
    place.run(&["doctor"]).succeeded();
    drop(database);
    postgres.close().unwrap();
}

#[test]
fn a_check_that_waits_for_a_lock_ends_and_names_the_table_and_who_has_locked_it() {
    let place = Place::served();
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    let runtime = runtime();
    let mut database = runtime.block_on(PgConnection::connect(&postgres.url())).unwrap();
    let mut does = |statement: &str| runtime.block_on(database.execute(statement)).map(drop).unwrap();
    for table in ["_sqlx_migrations", "read_model_shapes", "name_claims", "restore_under_way", "checkpoints"]
    {
        does(&format!("begin; lock table {table} in access exclusive mode"));
        let found = place.run(&["doctor"]);
        does("rollback");
        let named = format!("{table} by process ");
        let is_of_the_lock = |line: &str| line.starts_with("FAILED") && line.contains(&named);
        assert!(found.stdout.lines().any(is_of_the_lock), "{table}: {} {}", found.stdout, found.stderr);
        assert!(found.stdout.contains("ok      fsync"), "{}", found.stdout);
    }
    place.run(&["doctor"]).succeeded();
    drop(database);
    postgres.close().unwrap();
}

#[test]
fn a_database_of_another_encoding_is_refused_before_anything_is_written_to_it() {
    let place = Place::new();
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    let runtime = runtime();
    let mut database = runtime.block_on(PgConnection::connect(&postgres.url())).unwrap();
    let create = "create database latin encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0";
    runtime.block_on(database.execute(create)).unwrap();
    let url = postgres.url().replace("/identityd?", "/latin?");
    let with = |arguments: &[&str]| {
        run_to_end(bare(arguments).args(["--database-url", &url]).env("RUST_LOG", "off"))
    };
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["migrate"], &["org", "create", "acme"]] {
        let finished = with(arguments);
        let expected = "this database cannot be served (encoding): is LATIN1";
        assert!(finished.error().contains(expected), "{}", finished.stderr);
    }
    let checked = with(&["doctor", "--json"]);
    assert!(failed(&checked).contains(&"encoding".to_owned()), "{}", checked.stdout);
    let mut latin = runtime.block_on(PgConnection::connect(&url)).unwrap();
    let count =
        sqlx::query_scalar("select count(*) from pg_class where relnamespace = 'public'::regnamespace");
    assert_eq!(runtime.block_on(count.fetch_one(&mut latin)).ok(), Some(0_i64));
    drop((database, latin));
    postgres.close().unwrap();
}

#[test]
fn one_role_does_not_serve_where_everybody_may_make_functions() {
    let place = Place::new();
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    let runtime = runtime();
    let mut database = runtime.block_on(PgConnection::connect(&postgres.url())).unwrap();
    let mut does = |statement: &str| runtime.block_on(database.execute(statement)).map(drop).unwrap();
    does("grant create on schema public to public");
    let started = || {
        let mut command = bare(&["migrate", "--database-url", &postgres.url()]);
        run_to_end(command.env("RUST_LOG", "off"))
    };
    let refused = started();
    assert!(refused.error().starts_with("this database cannot be served (schemas): "), "{}", refused.stderr);
    assert!(refused.stderr.contains("revoke create on schema public from public"), "{}", refused.stderr);
    does("revoke create on schema public from public");
    // What was made before is still there.
    does(
        "create role evil; grant create on schema public to evil; set role evil;
          create function public.concat_ws(text, text) returns text language sql as 'select $1';
          reset role; revoke create on schema public from evil",
    );
    assert!(started().error().contains("drop routine concat_ws(text,text)"), "{}", started().stderr);
    does("drop function public.concat_ws(text, text); drop role evil");
    started().succeeded();
    drop(database);
    postgres.close().unwrap();
}

#[test]
fn the_doctor_finds_an_empty_database_ill() {
    let place = Place::new();
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    let checked = run(bare(&["doctor", "--json"]).args(["--database-url", &postgres.url()]));
    let failed = failed(&checked);
    for check in ["migrations", "free_numbers", "log", "read_models", "triggers"] {
        assert!(failed.contains(&check.to_owned()), "{check}: {}", checked.stdout);
    }
    postgres.close().unwrap();
}
