//! Locks of jobs: one job at a time on a read model, and no writer waits for a reader.

use identity_log::count::EventCounts;
use identity_projections::rebuild::{self, JobError};
use sqlx::{Connection as _, Executor as _};

use super::words::{LIVE, nowhere_yet, options, rebuild, table};
use crate::harness::{World, eventually, wait};

#[test]
fn a_second_job_on_a_read_model_says_who_holds_it() {
    let (world, elsewhere) = (World::new(), World::new());
    let (here, there) = (options(&world), options(&elsewhere));
    std::thread::scope(|scope| {
        let mut held_up = [world.hold_up("identities"), elsewhere.hold_up("identities")];
        // A job on the same read model of another database does not matter.
        let other = scope.spawn(|| wait(rebuild(&there, "identities", LIVE)));
        elsewhere.somebody_waits_for("read_model_next.identities");
        let first = scope.spawn(|| wait(rebuild(&here, "identities", LIVE)));
        world.somebody_waits_for("read_model_next.identities");
        assert!(world.entry("identities").job_runs);
        assert!(!world.entry("visibility").job_runs);
        let holder = match world.rebuild("identities", LIVE) {
            Err(JobError::Held(holder)) => holder,
            outcome => panic!("{outcome:?}"),
        };
        let backend = world.database().number(
            "select pid::bigint from pg_locks
             where not granted and relation = 'read_model_next.identities'::regclass
               and database = (select oid from pg_database where datname = current_database())",
        );
        let process = std::process::id();
        assert_eq!(
            holder,
            format!("identityd rebuild of identities, process {process} (Postgres backend {backend})")
        );
        // A job on another read model may run at the same time.
        world.rebuild("visibility", LIVE).unwrap();
        for session in &mut held_up {
            wait(session.execute("rollback")).unwrap();
        }
        first.join().unwrap().unwrap();
        other.join().unwrap().unwrap();
    });
    assert!(!world.entry("identities").job_runs);
    world.rebuild("identities", LIVE).unwrap();
}

#[test]
fn a_swap_waits_for_those_who_read_without_keeping_writers_waiting() {
    let world = World::new();
    world.admin().create("alpha");
    let options = options(&world);
    let report = std::thread::scope(|scope| {
        let reader = world.session("begin; select count(*) from read_model.identities");
        let job = scope.spawn(|| wait(rebuild(&options, "identities", LIVE)));
        world.somebody_waits_for("read_model.identities");
        // Writes are committed while the reader's transaction is still open.
        for number in 0..20 {
            world.admin().create(&format!("bravo-{number}"));
        }
        wait(reader.close()).unwrap();
        job.join().unwrap().unwrap()
    });
    assert!(report.pause.is_some());
    assert_eq!(report.events, 21);
    world.is_clean();
}

#[test]
fn a_swap_waits_for_those_who_read_the_retired_table_without_keeping_writers_waiting() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    world.rebuild("identities", LIVE).unwrap();
    let options = options(&world);
    let report = std::thread::scope(|scope| {
        let reader = world.session("begin; select count(*) from read_model_retired.identities");
        let job = scope.spawn(|| wait(rebuild(&options, "identities", LIVE)));
        world.somebody_waits_for("read_model_retired.identities");
        for number in 0..20 {
            admin.create(&format!("bravo-{number}"));
        }
        wait(reader.close()).unwrap();
        job.join().unwrap().unwrap()
    });
    assert_eq!(report.events, 21);
    world.is_clean();
}

#[test]
fn a_verification_keeps_its_table_from_being_swapped() {
    let world = World::new();
    world.admin().create("alpha");
    std::thread::scope(|scope| {
        let held_up = world.session("begin; lock table events in access exclusive mode");
        let verification = scope.spawn(|| world.verify("identities"));
        // The service waits for the table `events`, too, so only sessions of the verification count.
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and application_name like 'identityd verification%'
                         and wait_event_type = 'Lock'";
        eventually("the verification waits", || world.database().number(waiting) > 0);
        let mut swapping = world.session("set lock_timeout = '1ms'");
        let swap = "alter table read_model.identities set schema read_model_retired";
        let refused = wait(swapping.execute(swap)).expect_err("the table is being read");
        assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("55P03"));
        wait(held_up.close()).unwrap();
        assert_eq!(verification.join().unwrap().unwrap().differences, []);
    });
}

#[test]
fn handles_that_change_hands_while_a_table_is_built_are_folded_in_any_order() {
    let world = World::with_name_hold(std::time::Duration::ZERO);
    let admin = world.admin();
    let rename = |from: &str, to: &str| {
        admin.change(from, &serde_json::json!({"agent_handle": to})).ok();
    };
    admin.create("alpha");
    admin.create("bravo");
    rename("alpha", "carol");
    let options = options(&world);
    std::thread::scope(|scope| {
        let mut held_up = world.hold_up("identities");
        let job = scope.spawn(|| wait(rebuild(&options, "identities", LIVE)));
        world.somebody_waits_for("read_model_next.identities");
        // Change the identity that gets the handle first, so that it is folded first.
        admin.change("bravo", &serde_json::json!({"description": "wants another name"})).ok();
        rename("carol", "delta");
        rename("bravo", "carol");
        wait(held_up.execute("rollback")).unwrap();
        job.join().unwrap().unwrap();
    });
    world.is_clean();
}

/// Jobs that pass their counts on count what was appended since.
#[test]
fn events_between_two_jobs_are_counted_by_the_second() {
    let world = World::new();
    let (admin, options) = (world.admin(), options(&world));
    admin.create("alpha");
    let mut counts = EventCounts::default();
    let mut next = || {
        let (progress, never) = (nowhere_yet(), std::future::pending());
        let job =
            rebuild::rebuild_counted(&options, table("identities"), &mut counts, LIVE, &progress, never);
        wait(job).unwrap().events
    };
    assert_eq!(next(), 1);
    assert_eq!(next(), 1);
    admin.create("bravo");
    admin.change("alpha", &serde_json::json!({"description": "has a neighbour"})).ok();
    assert_eq!(next(), 3);
    world.is_clean();
}

#[test]
fn a_job_that_is_told_to_stop_stops_and_leaves_the_live_table() {
    let world = World::new();
    world.admin().create("alpha");
    let before = world.rows("read_model", "identities");
    let options = options(&world);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let held_up = std::thread::scope(|scope| {
        let held_up = world.hold_up("identities");
        let job = scope.spawn(|| {
            let stopped = async { drop(stopped.await) };
            wait(rebuild::rebuild_until(&options, table("identities"), LIVE, &nowhere_yet(), stopped))
        });
        world.somebody_waits_for("read_model_next.identities");
        stop.send(()).unwrap();
        let error = job.join().unwrap().expect_err("it was told to stop");
        assert!(matches!(error, JobError::Interrupted), "{error:?}");
        held_up
    });
    assert_eq!(world.entry("identities").job_phase.as_deref(), Some("interrupted in phase fold"));
    assert_eq!(world.rows("read_model", "identities"), before);
    wait(held_up.close()).unwrap();
    world.rebuild("identities", LIVE).unwrap();
    assert_eq!(world.entry("identities").job_phase.as_deref(), Some("done"));
    world.is_clean();
}
