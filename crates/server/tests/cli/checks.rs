//! A database that is broken in one way after the other. The doctor names each fault. If the database cannot be served,
//! the service names it, too, and ends.

use identity_postgres::PrivatePostgres;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::runtime::Runtime;

use crate::harness::{Finished, Place, bare, run, run_to_end};

/// A way to break a database: the check that finds it, whether the service refuses to start, and the statements that
/// break and mend it.
struct Case {
    check: &'static str,
    refuses: bool,
    breaks: &'static str,
    heals: &'static str,
}

/// Tables and functions in `public` may hide those of Postgres.
const SHADOWS: &str = "alter role identityd_service set search_path = public, pg_catalog;";

const CASES: [Case; 29] = [
    Case {
        check: "schema",
        refuses: true,
        breaks: "create schema other; grant usage on schema other to identityd_service; alter role identityd_service set search_path = other, public",
        heals: "drop schema other; alter role identityd_service reset search_path",
    },
    Case {
        check: "writable",
        refuses: true,
        breaks: "alter role identityd_service set default_transaction_read_only = on",
        heals: "alter role identityd_service reset default_transaction_read_only",
    },
    Case {
        check: "log",
        refuses: true,
        breaks: "create table kept as table log_head; delete from log_head",
        heals: "insert into log_head select * from kept; drop table kept",
    },
    Case {
        check: "log",
        refuses: true,
        breaks: "update log_head set position = position - 1",
        heals: "update log_head set position = position + 1",
    },
    Case {
        check: "log",
        refuses: false,
        breaks: "update organization_heads set sequence = sequence - 1",
        heals: "update organization_heads set sequence = sequence + 1",
    },
    Case {
        check: "log",
        refuses: true,
        breaks: "alter table webhook_cursor rename to lost",
        heals: "alter table lost rename to webhook_cursor",
    },
    Case {
        check: "claims",
        refuses: false,
        breaks: "insert into name_claims (name, organization_id, identity_id) values ('lost', 'nobody', gen_random_uuid())",
        heals: "delete from name_claims where name = 'lost'",
    },
    Case {
        check: "read_models",
        refuses: false,
        breaks: "alter table read_model.visibility rename to lost",
        heals: "alter table read_model.lost rename to visibility",
    },
    Case {
        check: "read_models",
        refuses: false,
        breaks: "alter schema read_model_retired rename to lost",
        heals: "alter schema lost rename to read_model_retired",
    },
    Case {
        check: "read_model_rows",
        refuses: false,
        breaks: "create table kept as table read_model.organizations; truncate read_model.organizations",
        heals: "insert into read_model.organizations select * from kept; drop table kept",
    },
    Case {
        check: "triggers",
        refuses: false,
        breaks: "alter table events disable trigger all",
        heals: "alter table events enable trigger all",
    },
    Case {
        check: "triggers",
        refuses: false,
        breaks: "alter table checkpoints disable trigger checkpoints_keep_signatures",
        heals: "alter table checkpoints enable trigger checkpoints_keep_signatures",
    },
    Case {
        check: "triggers",
        refuses: false,
        breaks: "create table bodies as select prosrc from pg_proc where proname = 'refuse_change_of_history';
                 update pg_proc set prosrc = 'begin return null; end' where proname = 'refuse_change_of_history'",
        heals: "update pg_proc set prosrc = bodies.prosrc from bodies where proname = 'refuse_change_of_history'; drop table bodies",
    },
    Case {
        check: "triggers",
        refuses: false,
        breaks: "drop trigger events_are_immutable on events;
                 create trigger events_are_immutable before delete on events for each statement execute function refuse_change_of_history()",
        heals: "drop trigger events_are_immutable on events;
                create trigger events_are_immutable before update or delete or truncate on events
                for each statement execute function refuse_change_of_history()",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "alter table events drop constraint events_aggregate_key",
        heals: "alter table events add constraint events_aggregate_key unique (aggregate_type, aggregate_id, sequence)",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "drop index read_model.visibility_viewer",
        heals: "create index visibility_viewer on read_model.visibility (viewer_id, target_id) where viewer_id is not null",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "create function swallow() returns trigger language plpgsql as 'begin return null; end';
                 create trigger swallowing before insert on name_claims for each row execute function swallow()",
        heals: "drop function swallow() cascade",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "alter table read_model.identities enable row level security;
                 create policy all_of_them on read_model.identities using (true)",
        heals: "drop policy all_of_them on read_model.identities; alter table read_model.identities disable row level security",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "create rule twice as on delete to events do also select 1",
        heals: "drop rule twice on events",
    },
    Case {
        check: "writes",
        refuses: false,
        breaks: "alter table events add constraint nothing_more check (position < 0) not valid",
        heals: "alter table events drop constraint nothing_more",
    },
    // Where an owner is known it closes the schema before it serves.
    Case {
        check: "schemas",
        refuses: false,
        breaks: "grant create on schema public to public",
        heals: "revoke create on schema public from public",
    },
    Case {
        check: "settings",
        refuses: false,
        breaks: "alter role identityd_service set statement_timeout = '10min'",
        heals: "alter role identityd_service reset statement_timeout",
    },
    Case {
        check: "settings",
        refuses: false,
        breaks: "alter database identityd set default_transaction_isolation = 'serializable'",
        heals: "alter database identityd reset default_transaction_isolation",
    },
    Case {
        check: "connections",
        refuses: false,
        breaks: "alter role identityd_service connection limit 5",
        heals: "alter role identityd_service connection limit -1",
    },
    Case {
        check: "clock",
        refuses: false,
        breaks: "create function public.clock_timestamp() returns timestamptz language sql as \
                 $$ select pg_catalog.clock_timestamp() + interval '1 hour' $$",
        heals: "drop function public.clock_timestamp()",
    },
    Case {
        check: "event_times",
        refuses: false,
        breaks: "create table kept as table log_head; update log_head set recorded_at = now() + interval '1 day'",
        heals: "update log_head set recorded_at = kept.recorded_at from kept; drop table kept",
    },
    Case {
        check: "transaction_ids",
        refuses: false,
        breaks: "create table kept as select datfrozenxid from pg_database where datname = current_database();
                 update pg_database set datfrozenxid = '2500000000' where datname = current_database()",
        heals: "update pg_database set datfrozenxid = kept.datfrozenxid from kept where datname = current_database();
                drop table kept",
    },
    Case {
        check: "notifications",
        refuses: false,
        breaks: "create function public.pg_notification_queue_usage() returns float8 language sql as 'select 0.8::float8'",
        heals: "drop function public.pg_notification_queue_usage()",
    },
    Case {
        check: "collations",
        refuses: false,
        breaks: "update pg_database set datcollversion = '1' where datname = current_database()",
        heals: "update pg_database set datcollversion = null where datname = current_database()",
    },
];

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
        assert_eq!(failed(&found), [check], "{breaks}: {}", found.stdout);
        // Postgres may print a warning about a collation first.
        assert_eq!(found.stderr.lines().last(), Some("error: 1 of 33 checks failed"));
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
    assert_eq!(failed(&doctor().succeeded()), Vec::<String>::new());
    drop(database);
    postgres.close().unwrap();
    assert!(place.serve().stop().success());
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
