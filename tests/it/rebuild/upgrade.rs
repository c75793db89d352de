//! Tables of older software, with an older version of a fold: the service rebuilds them before it answers.

use serde_json::json;
use sqlx::Connection as _;

use crate::harness::{World, eventually, wait};

/// A service whose read model of identities was written by older software.
fn of_yesterday() -> World {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.create("bravo");
    world.database().execute("update read_models set version = 0 where name = 'identities'");
    world.behind_our_back(
        "update read_model.identities set document = json_build_object('name', agent_handle)::text",
    );
    world
}

#[test]
fn a_newer_version_of_the_fold_is_all_that_it_takes() {
    let world = of_yesterday();
    let known = world.events();
    let world = world.restarted();
    assert_eq!(world.admin().handles(), ["bravo", "alpha"]);
    assert_eq!(world.admin().identity("alpha")["display_name"], "alpha");
    assert_eq!(world.events(), known, "history is what it was");
    world.is_clean();
    let entry = world.entry("identities");
    assert_eq!((entry.version, entry.retired_version), (super::words::version("identities"), Some(0)));
    assert_eq!(entry.job_phase.as_deref(), Some("done"));
    assert_eq!(world.entry("visibility").retired_version, None, "what is of this version is left alone");
}

#[test]
fn a_read_model_that_nobody_knows_anything_of_is_rebuilt() {
    let world = of_yesterday();
    world.database().execute("delete from read_models");
    let world = world.restarted();
    let is_rebuilt = |name: &&str| world.entry(name).version == super::words::version(name);
    eventually("the last table is rebuilt", || super::words::names().iter().all(is_rebuilt));
    world.is_clean();
}

#[test]
fn until_it_is_ready_the_service_says_what_it_does_and_asks_to_come_again() {
    let world = of_yesterday();
    let held_up = world.hold_up("identities");
    let world = world.restarting();
    world.somebody_waits_for("read_model_next.identities");
    let stranger = world.stranger();
    let probe = stranger.raw("GET", "/readyz", b"");
    let detail = probe.must_be(503).detail();
    assert_eq!((&detail["code"], &detail["read_model"]), (&json!("preparing"), &json!("identities")));
    assert_eq!(detail["phase"], "fold");
    assert_eq!(detail["total"], 2);
    for answer in [world.admin().get("/identities/"), world.admin().try_create("carol", json!({}))] {
        assert_eq!(answer.headers.get("retry-after").map(String::as_str), Some("1"), "{answer}");
        answer.refused_as(503, "preparing");
    }
    assert_eq!(stranger.raw("GET", "/healthz", b"").status, 200);
    wait(held_up.close()).unwrap();
    world.becomes_ready();
    assert_eq!(stranger.raw("GET", "/readyz", b"").status, 200);
    assert_eq!(world.admin().handles(), ["bravo", "alpha"]);
}

#[test]
fn a_rebuild_that_another_process_is_at_is_waited_for() {
    let world = of_yesterday();
    let elsewhere = world.session(
        "set application_name = 'another process';
         select pg_advisory_lock(hashtext('identityd read model'), hashtext('identities'))",
    );
    let world = world.restarting();
    let waits = || {
        let detail = world.stranger().raw("GET", "/readyz", b"").must_be(503).detail();
        detail["phase"].as_str().is_some_and(|phase| phase.starts_with("waiting for another process"))
    };
    eventually("the service waits for the other process", waits);
    let version = super::words::version("identities");
    let rebuilt = format!("update read_models set version = {version} where name = 'identities'");
    world.database().execute(&rebuilt);
    wait(elsewhere.close()).unwrap();
    world.becomes_ready();
    assert_eq!(world.entry("identities").retired_version, None, "it was not rebuilt once more");
}

#[test]
fn a_rebuild_that_cannot_succeed_is_tried_until_it_does() {
    let world = of_yesterday();
    world.behind_our_back("update events set event_version = '99' where position = 3");
    let world = world.restarting();
    let failed = || {
        let detail = world.stranger().raw("GET", "/readyz", b"").must_be(503).detail();
        detail["phase"].as_str().is_some_and(|phase| phase.starts_with("failed"))
    };
    eventually("the rebuild has failed", failed);
    world.behind_our_back("update events set event_version = '1' where position = 3");
    world.becomes_ready();
    world.is_clean();
}

#[test]
fn a_service_that_is_told_to_stop_before_it_is_ready_stops() {
    let world = of_yesterday();
    let held_up = world.hold_up("identities");
    let world = world.restarting();
    world.somebody_waits_for("read_model_next.identities");
    // Stop the service and start it again.
    let world = world.restarting();
    assert_eq!(world.stranger().raw("GET", "/readyz", b"").status, 503);
    wait(held_up.close()).unwrap();
    world.becomes_ready();
    world.is_clean();
}
