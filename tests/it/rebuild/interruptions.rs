//! A rebuild that is killed at any moment leaves the live table as it was, and the next rebuild succeeds.

use std::ops::ControlFlow;

use identity_projections::rebuild::JobError;

use sqlx::Connection as _;

use super::words::{LIVE, options, rebuild};
use crate::harness::{World, wait};

const MOMENTS: u64 = 20;

/// Kills one connection of the job, chosen at random.
const OF_THE_JOB: &str = "
    select count(pg_terminate_backend(pid))
    from (
        select pid
        from pg_stat_activity
        where datname = current_database() and application_name like 'identityd rebuild%'
        order by random()
        limit 1
    ) as victim";

/// Runs a rebuild, and calls `look` as often as possible meanwhile. Returns the result, and the number of calls.
fn watched(world: &World, mut look: impl FnMut(u64) -> ControlFlow<()>) -> (Result<(), JobError>, u64) {
    let options = options(world);
    std::thread::scope(|scope| {
        let job = scope.spawn(|| wait(rebuild(&options, "identities", LIVE)).map(drop));
        let mut looks = 0;
        let mut looking = ControlFlow::Continue(());
        while !job.is_finished() && looking.is_continue() {
            looks += 1;
            looking = look(looks);
        }
        (job.join().unwrap(), looks)
    })
}

#[test]
fn a_rebuild_whose_connections_are_killed_at_any_moment_leaves_the_live_table() {
    let world = World::crowd(1_000, 3);
    let before = world.rows("read_model", "identities");
    let keys = world.indexes("read_model", "identities");
    // Each call takes the same time, so a number of calls stands for a moment.
    let look = || world.database().number("select count(*) from pg_stat_activity");
    let (outcome, length) = watched(&world, |_| {
        look();
        ControlFlow::Continue(())
    });
    outcome.unwrap();
    let (mut failures, mut noted) = (0, 0);
    for moment in 1..=MOMENTS {
        // Moments over the whole length of a rebuild, no two of them at the same distance.
        let at = 1 + (length * moment / (MOMENTS + 1) + moment * 7 % 5).min(length.saturating_sub(1));
        let (outcome, _) = watched(&world, |looks| {
            look();
            let hit = looks >= at && world.database().number(OF_THE_JOB) > 0;
            if hit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        failures += u64::from(outcome.is_err());
        assert_eq!(world.rows("read_model", "identities"), before, "{outcome:?}");
        assert_eq!(world.indexes("read_model", "identities"), keys, "{outcome:?}");
        // A job that was killed before its first phase has noted nothing, and a job that was killed while it committed
        // may have succeeded.
        let phase = world.entry("identities").job_phase.unwrap();
        assert!(phase == "done" || phase.starts_with("failed in phase "), "{phase}");
        noted += u64::from(phase != "done");
        world.rebuild("identities", LIVE).unwrap();
    }
    assert!(failures > 0 && noted > 0, "{failures} were hit, {noted} were noted");
    world.is_clean();
}

#[test]
fn a_rebuild_that_is_killed_while_it_swaps_leaves_the_live_table() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    world.rebuild("identities", LIVE).unwrap();
    let retired = world.entry("identities").retired_at;
    let options = options(&world);
    std::thread::scope(|scope| {
        let reader = world.session("begin; select count(*) from read_model.identities");
        let killed = scope.spawn(|| wait(rebuild(&options, "identities", LIVE)));
        // The job has the head lock now, and has dropped the retired table in its transaction.
        world.somebody_waits_for("read_model.identities");
        assert_eq!(world.database().number(OF_THE_JOB), 1);
        killed.join().unwrap().expect_err("its connection is gone");
        wait(reader.close()).unwrap();
    });
    admin.create("bravo");
    world.is_clean();
    let entry = world.entry("identities");
    assert_eq!((entry.job_phase.as_deref(), entry.retired_at), (Some("failed in phase cut over"), retired));
    assert_eq!(world.rows("read_model_retired", "identities").len(), 1, "the way back is still there");
    world.rebuild("identities", LIVE).unwrap();
    world.is_clean();
}

/// Ends the connection of a job at its commit, when the whole swap is done.
const ENDS_AT_THE_COMMIT: &str = "
    create function public.end_connection() returns trigger language plpgsql
    as $$ begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
    create constraint trigger ends_at_the_commit after update on read_models
    deferrable initially deferred for each row when (new.job_phase = 'done')
    execute function public.end_connection()";

#[test]
fn a_rebuild_that_is_killed_while_it_commits_is_noted_as_failed() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let before = world.rows("read_model", "identities");
    wait(world.session(ENDS_AT_THE_COMMIT).close()).unwrap();
    let error = world.rebuild("identities", LIVE).unwrap_err();
    assert!(matches!(error, JobError::Doubt(_)), "{error}");
    assert_eq!(world.rows("read_model", "identities"), before);
    assert_eq!(world.entry("identities").job_phase.as_deref(), Some("failed in phase cut over"));
    world.database().execute("drop function public.end_connection() cascade");
    world.rebuild("identities", LIVE).unwrap();
    world.is_clean();
}
