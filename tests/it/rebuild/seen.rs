//! Read models in `/metrics`.

use sqlx::Connection as _;

use super::words::{BESIDE, LIVE};
use crate::harness::{World, wait};

fn of(name: &str, series: &str) -> String {
    format!("identityd_read_model_{series}{{read_model=\"{name}\"}}")
}

fn phase(name: &str, phase: &str) -> String {
    format!("identityd_read_model_job_phase{{read_model=\"{name}\",phase=\"{phase}\"}}")
}

#[test]
fn a_verification_that_failed_is_seen() {
    let world = World::new();
    world.admin().create("alpha");
    let differences = of("identities", "verified_differences");
    assert_eq!(world.admin().metrics().value(&differences), None);
    world.verify("identities").unwrap();
    world.admin().metrics().has(&differences, 0.0);
    world.database().execute("delete from read_model.identities");
    world.verify("identities").unwrap();
    let seen = world.admin().metrics();
    seen.has(&differences, 1.0);
    let at = seen.value(&of("identities", "verified_timestamp_seconds"));
    assert!(at.is_some_and(|at| at > 1.7e9), "{seen:?}");
}

#[test]
fn a_rebuild_is_seen_while_it_is_at_work_and_when_it_is_over() {
    let world = World::new();
    world.admin().create("alpha");
    let before = world.admin().metrics();
    before.has(&of("identities", "job_running"), 0.0);
    before.has(&of("identities", "outdated"), 0.0);
    let held_up = world.hold_up("identities");
    std::thread::scope(|scope| {
        let job = scope.spawn(|| world.rebuild("identities", LIVE).unwrap());
        world.somebody_waits_for("read_model_next.identities");
        let during = world.admin().metrics();
        during.has(&of("identities", "job_running"), 1.0);
        during.has(&phase("identities", "fold"), 1.0);
        during.has(&phase("identities", "done"), 0.0);
        wait(held_up.close()).unwrap();
        job.join().unwrap();
    });
    let after = world.admin().metrics();
    after.has(&of("identities", "job_running"), 0.0);
    after.has(&phase("identities", "fold"), 0.0);
    after.has(&phase("identities", "done"), 1.0);
    let (done, total) = (of("identities", "job_events_done"), of("identities", "job_events_total"));
    assert_eq!(after.value(&done), after.value(&total), "{after:?}");
}

#[test]
fn how_a_rebuild_ended_is_seen() {
    let world = World::new();
    world.admin().create("alpha");
    world.rebuild("identities", BESIDE).unwrap();
    world.admin().metrics().has(&phase("identities", "ready"), 1.0);
    world.behind_our_back("update events set payload = '{}' where aggregate_type = 'identity'");
    world.rebuild("identities", LIVE).unwrap_err();
    world.admin().metrics().has(&phase("identities", "failed"), 1.0);
    // The entry of a job that was killed: a phase, and no session that has the lock.
    world.database().execute("update read_models set job_phase = 'fold'");
    world.admin().metrics().has(&phase("identities", "killed"), 1.0);
}

#[test]
fn a_table_of_an_older_version_is_outdated() {
    let world = World::new();
    world.admin().create("alpha");
    world.database().execute("update read_models set version = version - 1 where name = 'identities'");
    let seen = world.admin().metrics();
    seen.has(&of("identities", "outdated"), 1.0);
    seen.has(&of("visibility", "outdated"), 0.0);
}
