//! Restores that are killed, and backups beside writes.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use identity_postgres::PrivatePostgres;
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::runtime::Runtime;

use crate::backup::estate::{Estate, call, error, text};
use crate::harness::{Finished, Place, StopAtEnd, bare, eventually, run};

/// The place for a restore, with empty tables and its Postgres kept running.
fn migrated_successor(estate: &Estate) -> (Place, PrivatePostgres) {
    let target = estate.successor();
    target.run(&["migrate"]).succeeded();
    let keeper = PrivatePostgres::open(target.data_dir()).unwrap();
    (target, keeper)
}

fn begin_restore(target: &Place, file: &Path) -> Child {
    let mut restoring = target.command(&["restore", text(file), "--nothing-lost"]);
    restoring.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A restore that is cut off after its rows are written is not served. Begun again, it is finished.
#[test]
fn a_restore_that_was_cut_off_is_not_served_and_can_be_finished() {
    let estate = Estate::new();
    let file = estate.backup("backup");
    let (target, keeper) = migrated_successor(&estate);
    // A reader keeps the rebuilt table from going live, so the restore does not come to its end.
    let (runtime, mut database) = connect(&keeper);
    runtime.block_on(database.execute("begin; select from read_model.identities")).unwrap();
    let mut child = begin_restore(&target, &file);
    eventually("the rows are written", || is_marked(&runtime, &mut database));
    child.kill().unwrap();
    child.wait().unwrap();
    runtime.block_on(database.execute("rollback")).unwrap();
    for command in
        [&["serve", "--listen", "127.0.0.1:0"][..], &["migrate"], &["org", "list"], &["backup", "other"]]
    {
        let refused: Finished = target.run(command);
        assert!(
            refused.stderr.contains("a restore into this database is not finished"),
            "{command:?}: {}",
            refused.stderr
        );
    }
    let other = estate.backup("other");
    let refused = target.run(&["restore", text(&other), "--nothing-lost"]);
    assert!(error(&refused).starts_with("another backup is being restored"), "{}", refused.stderr);
    target.run(&["restore", text(&file), "--nothing-lost"]).succeeded();
    runtime.block_on(database.close()).unwrap();
    keeper.close().unwrap();
    assert!(target.serve().stop().success());
}

/// A restore that is killed while it writes leaves an empty database.
#[test]
fn a_restore_that_is_killed_while_it_writes_leaves_an_empty_database() {
    let estate = Estate::new();
    let file = estate.backup("backup");
    let (target, keeper) = migrated_successor(&estate);
    // This is the last table. It can be read, but not written.
    let (runtime, mut database) = connect(&keeper);
    runtime.block_on(database.execute("begin; lock table webhook_log_endpoints in share mode")).unwrap();
    let mut child = begin_restore(&target, &file);
    eventually("the restore waits for the last table", || {
        let waits = "select exists (select from pg_locks where relation = 'webhook_log_endpoints'::regclass and not granted)";
        runtime.block_on(sqlx::query_scalar(waits).fetch_one(&mut database)).unwrap()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    runtime.block_on(database.execute("rollback")).unwrap();
    assert!(!is_marked(&runtime, &mut database));
    let events = "select exists (select from events)";
    assert!(!runtime.block_on(sqlx::query_scalar::<_, bool>(events).fetch_one(&mut database)).unwrap());
    // The rows were in a file of their own, so not even dead ones are left.
    let size = "select pg_relation_size('events')";
    assert_eq!(runtime.block_on(sqlx::query_scalar::<_, i64>(size).fetch_one(&mut database)).unwrap(), 0);
    assert_eq!(target.run(&["org", "list"]).succeeded().stdout, "");
    target.run(&["restore", text(&file), "--nothing-lost"]).succeeded();
    assert!(target.run(&["org", "list"]).succeeded().stdout.contains("acme"));
    runtime.block_on(database.close()).unwrap();
    keeper.close().unwrap();
}

/// A table that is rewritten while a backup begins has its rows in the backup, and a file that appears meanwhile stays.
#[test]
fn a_backup_waits_for_changes_of_tables_and_replaces_no_file() {
    let estate = Estate::new();
    let keeper = PrivatePostgres::open(estate.place.data_dir()).unwrap();
    let (runtime, mut database) = connect(&keeper);
    let file = estate.place.path("waited");
    let backup = waiting_backup(&estate, &file, (&runtime, &mut database));
    let rewrite = "create temp table aside as table webhook_log_endpoints; truncate webhook_log_endpoints;
                   insert into webhook_log_endpoints select * from aside; commit";
    runtime.block_on(database.execute(rewrite)).unwrap();
    assert!(backup.wait_with_output().unwrap().status.success());
    let verified = run(&mut bare(&["backup", "verify", text(&file), "--json"])).succeeded().json();
    assert_eq!(verified["rows"]["webhook_log_endpoints"], 1);

    let file = estate.place.path("taken");
    let backup = waiting_backup(&estate, &file, (&runtime, &mut database));
    fs::write(&file, "another").unwrap();
    runtime.block_on(database.execute("rollback")).unwrap();
    assert!(!backup.wait_with_output().unwrap().status.success());
    assert_eq!(fs::read_to_string(&file).unwrap(), "another");
    runtime.block_on(database.close()).unwrap();
    keeper.close().unwrap();
}

/// Starts a backup that waits for a transaction of this connection, which is open when this returns.
fn waiting_backup(estate: &Estate, file: &Path, (runtime, database): (&Runtime, &mut PgConnection)) -> Child {
    let lock = "begin; lock table webhook_log_endpoints in access exclusive mode";
    runtime.block_on(database.execute(lock)).unwrap();
    let mut backup = estate.place.command(&["backup", text(file)]);
    let child = backup.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The service waits for the table, too, but does not lock others before it.
    let waits = "select exists (select from pg_locks as waiting join pg_locks as other using (pid)
                                where waiting.relation = 'webhook_log_endpoints'::regclass and not waiting.granted
                                  and other.relation = 'webhook_cursor'::regclass)";
    eventually("the backup waits for the table", || {
        runtime.block_on(sqlx::query_scalar(waits).fetch_one(&mut *database)).unwrap()
    });
    child
}

/// A connection to a private Postgres.
fn connect(postgres: &PrivatePostgres) -> (Runtime, PgConnection) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let database = runtime.block_on(PgConnection::connect(&postgres.url())).unwrap();
    (runtime, database)
}

fn is_marked(runtime: &Runtime, database: &mut PgConnection) -> bool {
    let query = "select exists (select from restore_under_way)";
    runtime.block_on(sqlx::query_scalar(query).fetch_one(database)).unwrap()
}

/// Backups that are taken while clients write are consistent: each verifies, and has what was acknowledged before it began.
#[test]
fn a_backup_beside_writes_is_one_consistent_state() {
    let estate = Estate::new();
    let (base, stop, written) = (estate.service.base(), AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (base, admin, stop, written) = (&base, &estate.admin, &stop, &written);
            scope.spawn(move || {
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let body = json!({ "agent_handle": format!("w-{writer}-{turn}") });
                    assert_eq!(call(base, admin, &Method::POST, "/identities", &body).status, 201);
                    written.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let _stop = StopAtEnd(&stop);
        for round in 0..3 {
            let before = written.load(Ordering::SeqCst);
            eventually("more is written", || written.load(Ordering::SeqCst) > before + 20);
            let acknowledged = written.load(Ordering::SeqCst);
            let file = estate.backup(&format!("backup-{round}"));
            let verified = run(&mut bare(&["backup", "verify", text(&file), "--json"])).succeeded().json();
            assert!(verified["rows"]["name_claims"].as_u64().unwrap() >= u64::from(acknowledged));
        }
    });
    let file = estate.backup("last");
    let target = estate.successor();
    target.run(&["restore", text(&file), "--nothing-lost"]).succeeded();
    target.run(&["projections", "verify"]).succeeded();
    target.run(&["projections", "verify", "--independent"]).succeeded();
}
