//! Tests of the harness itself.

use super::database::Database;
use super::supervisor::Supervisor;
use super::{postgres, wait};

#[test]
fn every_database_is_separate_and_gone_with_its_owner() {
    let first = Database::create();
    let second = Database::create();
    first.execute("create table mark (note text)");
    assert_eq!(second.number("select count(*) from pg_class where relname = 'mark'"), 0);
    let url = first.url().to_owned();
    drop(first);
    assert!(wait(sqlx::PgPool::connect(&url)).is_err(), "the database outlived its owner");
}

#[test]
fn all_databases_live_in_one_postgres() {
    let start = "select extract(epoch from pg_postmaster_start_time())::bigint";
    assert_eq!(Database::create().number(start), Database::create().number(start));
    assert!(std::ptr::eq(postgres::shared(), postgres::shared()));
}

#[test]
fn a_private_postgres_is_gone_when_the_process_that_asked_for_it_is() {
    let supervisor = Supervisor::start();
    let home = supervisor.home().to_owned();
    assert!(home.join("data/postmaster.pid").exists());
    supervisor.end();
    assert!(!home.exists(), "{} was left behind", home.display());
}
