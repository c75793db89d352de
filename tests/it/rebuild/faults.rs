//! Faults in the log or in a table: they are found and named, and a job with a fault never succeeds.

use identity_log::{ReadError, codec::DecodeError};
use identity_projections::rebuild::JobError;
use identity_projections::table::{Difference, DifferenceKind};
use serde_json::json;

use super::words::{BESIDE, LIVE, names, options, rebuild};
use crate::harness::{World, wait};

/// An organization with some of everything.
pub(super) fn world() -> World {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _, carol] = world.agents(["alpha", "bravo", "carol"]);
    admin.grant("alpha", &carol.id).created();
    admin.open("bravo");
    admin.provision("alpha");
    let secret = crate::harness::text(&admin.register_secret("first")["id"]);
    admin
        .post(&format!("/vault/secrets/{secret}/access"), &serde_json::json!({"identity_id": alpha.id}))
        .created();
    world
}

/// The position of the last event of this type.
pub(super) fn last(world: &World, event_type: &str) -> i64 {
    world.database().number(&format!("select max(position) from events where event_type = '{event_type}'"))
}

/// Asserts that neither a rebuild nor a verification of identities succeeds, and that the table is unchanged and still
/// read.
#[track_caller]
fn is_found(world: &World, wrong: impl Fn(&ReadError) -> bool) {
    let before = world.rows("read_model", "identities");
    for outcome in [world.rebuild("identities", LIVE).map(drop), world.verify("identities").map(drop)] {
        let error = outcome.expect_err("something is wrong");
        assert!(matches!(&error, JobError::Read(error) if wrong(error)), "{error:?}");
    }
    assert_eq!(world.rows("read_model", "identities"), before);
    assert_eq!(world.entry("identities").job_phase.as_deref(), Some("failed in phase fold"));
    assert_eq!(world.admin().identities().len(), 3);
}

#[test]
fn a_corrupt_payload_is_named_by_its_position() {
    let world = world();
    let bad = last(&world, "identity.created");
    world.behind_our_back(&format!("update events set payload = payload - 'mailbox' where position = {bad}"));
    is_found(&world, |error| {
        matches!(error, ReadError::Undecodable { position, source: DecodeError::Payload { event_type, .. } }
            if *position == bad && event_type == "identity.created")
    });
}

#[test]
fn an_unknown_event_type_is_named_by_its_position() {
    let world = world();
    let bad = last(&world, "identity.created");
    world.behind_our_back(&format!(
        "update events set event_type = 'identity.teleported', payload = '{{\"type\": \"identity.teleported\"}}'
         where position = {bad}"
    ));
    is_found(&world, |error| matches!(error, ReadError::Undecodable { position, .. } if *position == bad));
}

#[test]
fn an_unknown_version_of_an_event_is_named_by_its_position() {
    let world = world();
    let bad = last(&world, "identity.created");
    world.behind_our_back(&format!("update events set event_version = '99' where position = {bad}"));
    is_found(&world, |error| {
        matches!(error, ReadError::Undecodable { position, source: DecodeError::UnknownVersion { version, .. } }
            if *position == bad && version == "99")
    });
}

#[test]
fn an_event_of_an_unknown_aggregate_is_named_by_its_position() {
    let world = world();
    let bad = last(&world, "identity.created");
    world.behind_our_back(&format!("update events set aggregate_type = 'robot' where position = {bad}"));
    is_found(&world, |error| matches!(error, ReadError::UnknownAggregate { position } if *position == bad));
}

#[test]
fn an_event_that_is_gone_is_named_by_its_position() {
    for event_type in ["identity.created", "vault_secret.registered", "identity.vault_access_granted"] {
        let world = world();
        let bad = last(&world, event_type);
        world.behind_our_back(&format!("delete from events where position = {bad}"));
        is_found(&world, |error| matches!(error, ReadError::Missing { position } if *position == bad));
    }
}

#[test]
fn an_event_whose_number_is_not_the_next_is_named_by_its_position() {
    let world = world();
    let bad = last(&world, "identity.vault_access_granted");
    world.behind_our_back(&format!("update events set sequence = sequence + 5 where position = {bad}"));
    is_found(&world, |error| matches!(error, ReadError::Torn { position, .. } if *position == bad));
}

#[test]
fn fewer_events_than_were_counted_are_no_success() {
    let world = world();
    let before = world.rows("read_model", "identities");
    let options = options(&world);
    let outcome = std::thread::scope(|scope| {
        let mut held_up = world.hold_up("identities");
        let job = scope.spawn(|| wait(rebuild(&options, "identities", LIVE)));
        // The job has counted the events and not read them yet.
        world.somebody_waits_for("read_model_next.identities");
        let last = last(&world, "identity.vault_access_granted");
        world.behind_our_back(&format!("delete from events where position = {last}"));
        wait(sqlx::Executor::execute(&mut held_up, "rollback")).unwrap();
        job.join().unwrap()
    });
    let error = outcome.expect_err("an event was not read");
    assert!(matches!(error, JobError::Events { read, total } if read + 1 == total), "{error:?}");
    assert_eq!(world.rows("read_model", "identities"), before);
}

#[test]
fn an_event_that_is_gone_while_a_table_catches_up_is_found() {
    let world = world();
    let before = world.rows("read_model", "identities");
    let options = options(&world);
    let outcome = std::thread::scope(|scope| {
        let mut held_up = world.hold_up("identities");
        let job = scope.spawn(|| wait(rebuild(&options, "identities", LIVE)));
        world.somebody_waits_for("read_model_next.identities");
        world.admin().register_secret("second");
        world.admin().register_secret("third");
        world.behind_our_back("delete from events where position = (select max(position) - 1 from events)");
        wait(sqlx::Executor::execute(&mut held_up, "rollback")).unwrap();
        job.join().unwrap()
    });
    let bad = world.database().number("select max(position) - 1 from events");
    let error = outcome.expect_err("an event is missing");
    assert!(matches!(error, JobError::Read(ReadError::Missing { position }) if position == bad), "{error:?}");
    assert_eq!(world.rows("read_model", "identities"), before);
}

/// Asserts that this is the only difference between log and table. If an aggregate has several rows, the difference
/// also names the row.
#[track_caller]
fn is_different(world: &World, name: &str, id: &str, kind: DifferenceKind) {
    let found = world.verify(name).unwrap().differences;
    let [wrong] = found.as_slice() else { panic!("{name}: {found:?}") };
    let (aggregate, rest) =
        wrong.id.split_once('/').map_or((&*wrong.id, None), |(id, rest)| (id, Some(rest)));
    assert_eq!((aggregate, wrong.kind), (id, kind), "{name}");
    assert_eq!(rest.is_some(), ["visibility", "vault_access"].contains(&name), "{}", wrong.id);
    assert_eq!(world.entry(name).differences, Some(1), "{name}");
    world.rebuild(name, LIVE).unwrap();
    assert_eq!(world.entry(name).differences, None, "{name}: nobody has looked at the new table yet");
    world.is_clean();
    assert_eq!(world.entry(name).differences, Some(0), "{name}");
}

#[test]
fn a_row_that_was_changed_is_named_and_a_rebuild_repairs_it() {
    let world = world();
    let alpha = world.agent("alpha").id;
    for change in [
        "document = replace(document, 'alpha', 'omega')",
        "document = document || ' '",
        "agent_handle = 'omega'",
        "email_address = 'omega@agents.localhost'",
        "status = 'paused'",
        "phone_number_id = null",
        "tunnel_id = gen_random_uuid()",
        "tunnel_metadata = '[]'",
        "organization_id = 'org_x'",
        "created_at = created_at + interval '1 microsecond'",
        "version = version + 1",
    ] {
        world.behind_our_back(&format!("update read_model.identities set {change} where id = '{alpha}'"));
        is_different(&world, "identities", &alpha, DifferenceKind::Different);
    }
}

/// The committer keeps the rows that it changed last in memory.
#[test]
fn what_a_rebuild_repairs_stays_repaired() {
    let world = world();
    let admin = world.admin();
    let alpha = world.agent("alpha").id;
    admin.change("carol", &json!({"description": "the last that was changed"})).ok();
    let wrong = "update read_model.identities set tunnel_metadata = '[]'";
    world.behind_our_back(&format!("{wrong} where id = '{alpha}'"));
    admin.change("alpha", &json!({"description": "while it is wrong"})).ok();
    is_different(&world, "identities", &alpha, DifferenceKind::Different);
    admin.change("alpha", &json!({"description": "once it is right"})).ok();
    world.is_clean();
}

#[test]
fn a_row_that_was_deleted_is_named() {
    let world = world();
    let alpha = world.agent("alpha").id;
    world.behind_our_back(&format!("delete from read_model.identities where id = '{alpha}'"));
    is_different(&world, "identities", &alpha, DifferenceKind::Missing);
    world.behind_our_back(&format!("delete from read_model.visibility where target_id = '{alpha}'"));
    is_different(&world, "visibility", &alpha, DifferenceKind::Missing);
    world.behind_our_back(&format!(
        "delete from read_model.organizations where id = '{}'",
        world.organization_id()
    ));
    let organization = world.organization_id().to_owned();
    is_different(&world, "organizations", &organization, DifferenceKind::Missing);
}

#[test]
fn a_row_that_was_added_is_named() {
    let world = world();
    let stranger = "ffffffff-ffff-4fff-bfff-ffffffffffff";
    world.behind_our_back(&format!(
        "insert into read_model.vault_access
         values ('{stranger}', gen_random_uuid(), now(), gen_random_uuid())"
    ));
    is_different(&world, "vault_access", stranger, DifferenceKind::Extra);
    let gone = world.admin().create("gone");
    world.admin().remove("gone");
    let gone = crate::harness::text(&gone["id"]);
    world.behind_our_back(&format!(
        "insert into read_model.visibility (target_id, viewer_id, access_id, organization_id, created_at, document)
         values ('{gone}', null, gen_random_uuid(), '{}', now(), '{{}}')",
        world.organization_id()
    ));
    is_different(&world, "visibility", &gone, DifferenceKind::Extra);
    let carol = world.agent("carol").id;
    world.behind_our_back(&format!(
        "insert into read_model.visibility (target_id, viewer_id, access_id, organization_id, created_at, document)
         values ('{carol}', null, gen_random_uuid(), '{}', now(), '{{}}')",
        world.organization_id()
    ));
    is_different(&world, "visibility", &carol, DifferenceKind::Extra);
}

#[test]
fn one_wrong_row_of_several_is_named_by_itself() {
    let world = world();
    let admin = world.admin();
    let target = crate::harness::text(&admin.create("seen")["id"]);
    for viewer in ["first", "second", "third"] {
        let viewer = admin.create(viewer)["id"].clone();
        admin.post("/identities/seen/access", &json!({"viewer_identity_id": viewer})).created();
    }
    let rows = admin.get("/identities/seen/access").ok();
    let row = crate::harness::text(&rows[1]["id"]);
    let second = format!("{target}/{row}");
    world.behind_our_back(&format!("delete from read_model.visibility where access_id = '{row}'"));
    let found = world.verify("visibility").unwrap().differences;
    assert_eq!(found, [Difference { id: second, kind: DifferenceKind::Missing }]);
}

#[test]
fn an_untouched_world_has_nothing_wrong_with_it() {
    let world = world();
    world.is_clean();
    for name in names() {
        let report = world.rebuild(name, BESIDE).unwrap();
        assert_eq!(report.rows, world.rows("read_model", name).len() as u64, "{name}");
    }
}
