//! One identity, event by event.

use identityd::audit::replay::{self, Step};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{export, sign, with_a_history};
use crate::harness::{World, wait};

fn from_the_database(
    world: &World,
    identity: &str,
    until: Option<OffsetDateTime>,
) -> anyhow::Result<Vec<Step>> {
    wait(replay::database(world.database().pool(), world.organization_id(), identity, until))
}

#[test]
fn an_identity_is_shown_after_each_of_its_events() {
    let world = with_a_history();
    world.admin().change("bravo", &serde_json::json!({"agent_handle": "bravo-2"})).ok();
    let steps = from_the_database(&world, "bravo", None).unwrap();
    let kinds: Vec<&str> = steps.iter().map(|step| step.event.event_type.as_str()).collect();
    assert_eq!(kinds, ["identity.created", "identity.description_changed", "identity.renamed"]);
    assert_eq!(steps[1].changed, ["/description", "/updated_at"]);
    assert_eq!(steps[1].state.as_ref().unwrap()["description"], "tea, not coffee");
    assert!(steps.iter().all(|step| step.actor.starts_with("ApiKey_")));
    let mut present = world.admin().identity("bravo-2");
    present.as_object_mut().unwrap().remove("access");
    assert_eq!(steps[2].state.as_ref(), Some(&present));
}

#[test]
fn the_dead_are_gone() {
    let world = with_a_history();
    let steps = from_the_database(&world, "carol", None).unwrap();
    assert_eq!(steps.last().unwrap().state, None);
    assert!(steps.last().unwrap().changed.contains(&"/agent_handle".to_owned()));
}

#[test]
fn a_moment_ends_the_replay() {
    let world = with_a_history();
    let all = from_the_database(&world, "bravo", None).unwrap();
    let first = OffsetDateTime::parse(&all[0].event.recorded_at, &Rfc3339).unwrap();
    assert_eq!(from_the_database(&world, "bravo", Some(first)).unwrap(), all[..1]);
}

#[test]
fn an_export_replays_as_the_database_does() {
    let world = with_a_history();
    sign(&world);
    let file = export(&world);
    let expected = from_the_database(&world, "bravo", None).unwrap();
    assert_eq!(replay::file(file.path(), "@Bravo", None).unwrap(), expected);
    let id = &expected[0].event.aggregate_id;
    assert_eq!(replay::file(file.path(), id, None).unwrap(), expected);
}

#[test]
fn nobody_of_that_name_is_said_so() {
    let world = with_a_history();
    let error = from_the_database(&world, "nobody", None).unwrap_err();
    assert_eq!(error.to_string(), "no identity was ever called nobody");
}
