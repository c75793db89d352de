//! Rollbacks: the retired table becomes live again, and so does the other one after a second rollback.

use std::time::Duration;

use identity_projections::rebuild::{self, JobError};
use sqlx::Connection as _;

use super::words::{BESIDE, LIVE, options, table};
use crate::harness::{World, wait};

fn roll_back(world: &World, name: &str) -> Result<(i64, Duration), JobError> {
    wait(rebuild::rollback(&options(world), table(name).as_ref()))
}

#[test]
fn what_was_never_rebuilt_cannot_be_rolled_back() {
    let world = World::new();
    assert!(matches!(roll_back(&world, "identities"), Err(JobError::NothingRetired)));
    world.rebuild("identities", BESIDE).unwrap();
    assert!(matches!(roll_back(&world, "identities"), Err(JobError::NothingRetired)));
    assert_eq!(world.entry("identities").job_phase.as_deref(), Some("ready"));
}

#[test]
fn a_retired_table_is_caught_up_and_goes_live_and_back_again() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    world.rebuild("identities", LIVE).unwrap();
    world.behind_our_back("comment on table read_model.identities is 'second'");
    admin.create("bravo");
    admin.remove("alpha");
    let (position, _) = roll_back(&world, "identities").unwrap();
    assert_eq!(position, world.events());
    assert_eq!(comment(&world), None);
    assert_eq!(admin.handles(), ["bravo"]);
    world.is_clean();
    admin.create("carol");
    assert_eq!(world.entry("identities").retired_position, Some(position));
    roll_back(&world, "identities").unwrap();
    assert_eq!(comment(&world).as_deref(), Some("second"));
    assert_eq!(admin.handles(), ["carol", "bravo"]);
    world.is_clean();
}

#[test]
fn a_rollback_brings_the_version_back_too() {
    let world = World::new();
    world.database().execute("update read_models set version = 0 where name = 'identities'");
    world.rebuild("identities", LIVE).unwrap();
    let now = super::words::version("identities");
    let versions = |world: &World| {
        let entry = world.entry("identities");
        (entry.version, entry.retired_version)
    };
    assert_eq!(versions(&world), (now, Some(0)));
    roll_back(&world, "identities").unwrap();
    assert_eq!(versions(&world), (0, Some(now)));
    roll_back(&world, "identities").unwrap();
    assert_eq!(versions(&world), (now, Some(0)));
}

#[test]
fn a_rollback_that_is_killed_can_be_done_again() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    world.rebuild("identities", LIVE).unwrap();
    admin.create("bravo");
    std::thread::scope(|scope| {
        let reader = world.session("begin; select count(*) from read_model.identities");
        let killed = scope.spawn(|| roll_back(&world, "identities"));
        world.somebody_waits_for("read_model.identities");
        world.database().execute(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name like 'identityd rollback%'",
        );
        let error = killed.join().unwrap().expect_err("its connection is gone");
        assert!(matches!(error, JobError::Database(_)), "{error:?}");
        wait(reader.close()).unwrap();
    });
    world.is_clean();
    roll_back(&world, "identities").unwrap();
    world.is_clean();
    assert_eq!(admin.handles(), ["bravo", "alpha"]);
}

fn cut_over(world: &World, name: &str) -> Result<(i64, Duration), JobError> {
    wait(rebuild::cut_over_until(&options(world), table(name).as_ref(), std::future::pending()))
}

#[test]
fn a_table_that_was_left_ready_is_caught_up_and_goes_live() {
    let world = World::new();
    let admin = world.admin();
    assert!(matches!(cut_over(&world, "identities"), Err(JobError::NothingReady)));
    admin.create("alpha");
    let ready = world.rebuild("identities", BESIDE).unwrap();
    assert_eq!(world.entry("identities").next_position, Some(ready.position));
    world.database().execute("comment on table read_model_next.identities is 'ready'");
    admin.create("bravo");
    let (position, _) = cut_over(&world, "identities").unwrap();
    assert_eq!(position, world.events());
    assert_eq!(comment(&world).as_deref(), Some("ready"));
    assert_eq!(admin.handles(), ["bravo", "alpha"]);
    world.is_clean();
    assert!(matches!(cut_over(&world, "identities"), Err(JobError::NothingReady)));
    roll_back(&world, "identities").unwrap();
    assert_eq!(comment(&world), None);
}

#[test]
fn what_is_not_ready_for_this_software_does_not_go_live() {
    let world = World::new();
    world.rebuild("identities", BESIDE).unwrap();
    world.database().execute("update read_models set next_version = 0 where name = 'identities'");
    assert!(matches!(cut_over(&world, "identities"), Err(JobError::NothingReady)));
    world.rebuild("identities", BESIDE).unwrap();
    world.rebuild("identities", LIVE).unwrap();
    assert!(matches!(cut_over(&world, "identities"), Err(JobError::NothingReady)));
}

fn comment(world: &World) -> Option<String> {
    let query = "select obj_description('read_model.identities'::regclass)";
    wait(sqlx::query_scalar(query).fetch_one(world.database().pool())).unwrap()
}
