//! Replays: one identity, event by event.

use std::fs;
use std::path::Path;

use identityd::audit::export::Range;
use identityd::audit::replay::{self, Presence, Replay, ReplayRange, ReplayedEvent};
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{export, export_range, file, sign, with_a_history};
use crate::harness::{World, text, wait};

fn from_the_database(world: &World, identity: &str, part: ReplayRange) -> anyhow::Result<Vec<ReplayedEvent>> {
    let replaying = replay::database(world.database().pool(), world.organization_id(), identity, part);
    wait(replaying).map(|replay| replay.steps)
}

/// The error for a file that does not contain all events of the identity.
#[track_caller]
fn refused(file: impl AsRef<Path>, identity: &str) -> String {
    replay::file(file.as_ref(), identity, ReplayRange::default()).unwrap_err().to_string()
}

#[test]
fn an_identity_is_shown_after_each_of_its_events() {
    let world = with_a_history();
    world.admin().change("bravo", &serde_json::json!({"agent_handle": "bravo-2"})).ok();
    let steps = from_the_database(&world, "bravo", ReplayRange::default()).unwrap();
    let kinds: Vec<&str> = steps.iter().map(|step| step.event.event_type.as_str()).collect();
    assert_eq!(kinds, ["identity.created", "identity.description_changed", "identity.renamed"]);
    assert_eq!(steps[1].changed, ["/description", "/updated_at"]);
    assert_eq!(steps[1].state.as_ref().unwrap()["description"], "tea, not coffee");
    assert!(steps.iter().all(|step| step.actor.starts_with("ApiKey_")));
    let mut present = world.admin().identity("bravo-2");
    present["tunnel_metadata"] = json!("{}");
    present["vault_secret_ids"] = json!([]);
    assert_eq!(steps[2].state.as_ref(), Some(&present));
}

#[test]
fn the_dead_are_gone() {
    let world = with_a_history();
    let steps = from_the_database(&world, "carol", ReplayRange::default()).unwrap();
    assert_eq!((steps.last().unwrap().presence, &steps.last().unwrap().state), (Presence::Gone, &None));
    assert!(steps.last().unwrap().changed.contains(&"/agent_handle".to_owned()));
}

#[test]
fn a_moment_ends_the_replay() {
    let world = with_a_history();
    let all = from_the_database(&world, "bravo", ReplayRange::default()).unwrap();
    let first = OffsetDateTime::parse(&all[0].event.recorded_at, &Rfc3339).unwrap();
    assert_eq!(
        from_the_database(&world, "bravo", ReplayRange { until: Some(first), ..ReplayRange::default() })
            .unwrap(),
        all[..1]
    );
}

#[test]
fn an_export_replays_as_the_database_does() {
    let world = with_a_history();
    sign(&world);
    let file = export(&world);
    let expected = from_the_database(&world, "bravo", ReplayRange::default()).unwrap();
    let id = expected[0].event.aggregate_id.clone();
    let expected = Replay { steps: expected, doubt: None };
    assert_eq!(replay::file(file.path(), "@Bravo", ReplayRange::default()).unwrap(), expected);
    assert_eq!(replay::file(file.path(), &id, ReplayRange::default()).unwrap(), expected);
}

#[test]
fn nobody_of_that_name_is_said_so() {
    let world = with_a_history();
    let error = from_the_database(&world, "nobody", ReplayRange::default()).unwrap_err();
    assert_eq!(error.to_string(), "no identity was ever called nobody");
}

#[test]
fn who_may_see_it_what_it_may_use_and_its_tunnel_are_shown_and_marked() {
    let world = with_a_history();
    let admin = world.admin();
    let viewer = text(&admin.identity("alpha")["id"]);
    let bravo = admin.identity("bravo");
    let tunnel = format!("/tunnels/{}", text(&bravo["tunnel"]["id"]));
    admin.grant("bravo", &viewer).created();
    admin.patch(&tunnel, &json!({"metadata": {"rack": 7}})).ok();
    let secret = admin.post("/vault/secrets", &json!({"name": "x"})).created();
    let rules = format!("/vault/secrets/{}/access", text(&secret["id"]));
    admin.post(&rules, &json!({"identity_id": bravo["id"]})).created();
    admin.delete(&format!("/identities/bravo/access/{viewer}")).must_be(204);
    let steps = from_the_database(&world, "bravo", ReplayRange::default()).unwrap();
    let shown = |step: &ReplayedEvent, name: &str| step.state.as_ref().unwrap()[name].clone();
    let [.., granted, described, allowed, revoked] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!(granted.changed, ["/access"]);
    assert_eq!(shown(granted, "access")[0]["viewer_identity_id"], viewer);
    assert_eq!(described.changed, ["/tunnel/updated_at", "/tunnel_metadata"]);
    assert_eq!(shown(described, "tunnel_metadata"), r#"{"rack":7}"#);
    assert_eq!(allowed.changed, ["/vault_secret_ids"]);
    assert_eq!(shown(allowed, "vault_secret_ids"), json!([secret["id"]]));
    assert_eq!((&revoked.changed[..], shown(revoked, "access")), (&["/access".to_owned()][..], json!([])));
}

#[test]
fn a_file_that_was_cut_off_is_not_replayed() {
    let world = with_a_history();
    sign(&world);
    let text = fs::read_to_string(export(&world)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let cut = lines[..lines.len() - 1].join("\n");
    assert!(refused(file(cut), "bravo").contains("without a trailer"));
    let fewer = [&lines[..3], &lines[4..]].concat().join("\n");
    assert!(refused(file(fewer), "bravo").starts_with("the trailer says"));
}

#[test]
fn an_event_that_is_missing_from_a_life_is_named() {
    let world = with_a_history();
    world.admin().change("bravo", &json!({"agent_handle": "bravo-2"})).ok();
    let id = text(&world.admin().identity("bravo-2")["id"]);
    world.database().execute(&format!(
        "do $$ begin
             set local session_replication_role = replica;
             delete from events where aggregate_id = '{id}' and sequence = 2;
         end $$"
    ));
    let expected = format!("event 2 of identity {id} is missing: its event 3 is event 12 of the history");
    let error = from_the_database(&world, "bravo", ReplayRange::default()).unwrap_err();
    assert_eq!(error.to_string(), expected);
    let auditor = world.admin();
    let call = auditor.call(Method::GET, "/identities/bravo/events").header("Accept", "application/x-ndjson");
    assert_eq!(refused(file(call.open().unwrap().bytes().unwrap()), "bravo"), expected);
}

/// The state before the first event of the file is not known. The report must not say that there was no identity.
#[test]
fn a_part_without_the_birth_says_that_the_state_is_not_known() {
    let world = with_a_history();
    sign(&world);
    let (part, _) = export_range(&world, &Range { after: 5, until: None });
    let id = text(&world.admin().identity("bravo")["id"]);
    let Replay { steps, doubt } = replay::file(part.path(), &id, ReplayRange::default()).unwrap();
    assert_eq!(doubt.unwrap(), "the events of this file begin with event 6 of the history");
    assert_eq!((steps[0].presence, &steps[0].state, steps.len()), (Presence::Unknown, &None::<Value>, 1));
    assert!(refused(part.path(), "bravo").contains("a part of the history"));
    let (whole, _) = export_range(&world, &Range { after: 0, until: Some(8) });
    let Replay { steps, doubt } = replay::file(whole.path(), "bravo", ReplayRange::default()).unwrap();
    assert!(doubt.unwrap().ends_with("and end with event 8"));
    assert_eq!(steps[1].presence, Presence::Present);
}

#[test]
fn a_selection_is_replayed_with_a_doubt() {
    let world = with_a_history();
    let auditor = world.auditor();
    let call = auditor.call(Method::GET, "/identities/bravo/events").header("Accept", "application/x-ndjson");
    let Replay { steps, doubt } =
        replay::file(file(call.open().unwrap().bytes().unwrap()).path(), "bravo", ReplayRange::default())
            .unwrap();
    assert_eq!(doubt.unwrap(), "a filter left events out of this file");
    assert_eq!(steps, from_the_database(&world, "bravo", ReplayRange::default()).unwrap());
}
