//! Stored states: a long history is read from the last one on, and what is stored changes no answer.

use std::collections::BTreeMap;
use std::thread;

use identity_projections::states::{Upto, last_identity_rows};
use identityd::audit::replay::{self, ReplayRange, ReplayedEvent};
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::words::LIVE;
use crate::harness::{Caller, World, wait};

const STATES: &str = "identity_states";

/// How many events there are between two states of a small identity.
const SPACING: i64 = 256;

/// The last event of the identity in these tests, and the last one after which its state is stored.
const LAST: i64 = 3_000;
const LAST_STORED: i64 = 2_816;

/// A service with one identity that has a long history, with its stored states.
fn of_one_long_life() -> World {
    let world = World::crowd(1, LAST - 1);
    let stored = world
        .database()
        .text(&format!("select string_agg(sequence::text, ' ' order by sequence) from read_model.{STATES}"));
    let due: Vec<String> = (1..=LAST / SPACING).map(|place| (place * SPACING).to_string()).collect();
    assert_eq!(stored, due.join(" "));
    world
}

/// Makes events of the identity unreadable. Whoever reads one fails.
fn spoil(world: &World, from: i64, to: i64) {
    world.behind_our_back(&format!(
        "update events set event_version = '99'
         where aggregate_type = 'identity' and sequence between {from} and {to}"
    ));
}

fn forget_states(world: &World) {
    world.behind_our_back(&format!("truncate read_model.{STATES}"));
}

/// The moment of an event of the identity.
fn moment_of(world: &World, sequence: i64) -> OffsetDateTime {
    let query = format!(
        "select (extract(epoch from recorded_at) * 1000000)::bigint from events
         where aggregate_type = 'identity' and sequence = {sequence}"
    );
    let microseconds = i128::from(world.database().number(&query));
    OffsetDateTime::from_unix_timestamp_nanos(microseconds * 1000).unwrap()
}

fn moment(world: &World, sequence: i64) -> String {
    identity_log::recorded::timestamp(moment_of(world, sequence))
}

/// The paths that ask for the identity right after one of its events.
fn paths(world: &World, sequence: i64) -> [String; 2] {
    let path = "/identities/crowd-1?as_of=";
    [format!("{path}sequence:{sequence}"), format!("{path}{}", moment(world, sequence))]
}

/// What is answered around every event after which a state is stored, and elsewhere.
fn answers(world: &World, admin: &Caller) -> BTreeMap<String, Vec<u8>> {
    let near = (1..=LAST / SPACING).flat_map(|place| place * SPACING - 2..=place * SPACING + 2);
    let sequences = near.chain([1, 2, 700, LAST - 1, LAST]);
    let paths = sequences.flat_map(|sequence| paths(world, sequence));
    paths.map(|path| (path.clone(), admin.get(&path).must_be(200).bytes)).collect()
}

#[test]
fn stored_states_change_no_answer_about_the_past() {
    let world = of_one_long_life();
    let admin = world.admin();
    let answered = answers(&world, &admin);
    let versions: Vec<Value> = [LAST_STORED, LAST]
        .map(|sequence| admin.get(&paths(&world, sequence)[0]).json()["description"].clone())
        .to_vec();
    assert_ne!(versions[0], versions[1], "the answers differ from each other");
    world.behind_our_back(&format!(
        "update read_model.{STATES} set version = version + 1, decision = 'of another version', rows = '{{}}'"
    ));
    assert_eq!(answers(&world, &admin), answered, "states of another version");
    world.behind_our_back(&format!("update read_model.{STATES} set version = version - 1, rows = '?'"));
    assert_eq!(answers(&world, &admin), answered, "states that cannot be read");
    forget_states(&world);
    assert_eq!(answers(&world, &admin), answered, "no states");
    world.behind_our_back(&format!("drop table read_model.{STATES}"));
    assert_eq!(answers(&world, &admin), answered, "no table");
    let description =
        admin.change("crowd-1", &json!({ "description": "still here" })).ok()["description"].clone();
    assert_eq!(description, "still here");
}

#[test]
fn a_state_that_cannot_be_read_stops_no_write() {
    let world = of_one_long_life();
    world.behind_our_back(&format!("update read_model.{STATES} set decision = '?', rows = '?'"));
    let admin = world.admin();
    // The next state is due on the way.
    for number in 0..LAST_STORED + SPACING - LAST + 2 {
        admin.change("crowd-1", &json!({ "description": format!("change {number}") })).ok();
    }
}

#[test]
fn a_state_of_nothing_is_found() {
    let world = World::new();
    world.behind_our_back(
        "insert into read_model.vault_states values ('nobody', 256, 'org', 1, 1, '{}', null)",
    );
    assert_eq!(world.verify("vault_states").unwrap().differences.len(), 1);
}

#[test]
fn the_past_is_read_from_the_last_stored_state_on() {
    let world = of_one_long_life();
    let admin = world.admin();
    let asked = [LAST_STORED, LAST_STORED + 100, LAST].map(|sequence| paths(&world, sequence)).concat();
    let answers =
        || -> Vec<Vec<u8>> { asked.iter().map(|path| admin.get(path).must_be(200).bytes).collect() };
    let before = answers();
    // The first event tells who had the handle.
    spoil(&world, 2, LAST_STORED);
    assert_eq!(answers(), before);
    let reads_what_is_spoilt = |path: &str| admin.call(Method::GET, path).open().unwrap().status() == 500;
    assert!(reads_what_is_spoilt(&paths(&world, LAST_STORED - 1)[0]));
    forget_states(&world);
    assert!(reads_what_is_spoilt(&asked[0]));
}

#[test]
fn a_replay_of_a_part_begins_with_the_last_stored_state() {
    let world = of_one_long_life();
    let replayed = |part: ReplayRange| -> anyhow::Result<Vec<ReplayedEvent>> {
        let replaying = replay::database(world.database().pool(), world.organization_id(), "crowd-1", part);
        wait(replaying).map(|replay| replay.steps)
    };
    let all = replayed(ReplayRange::default()).unwrap();
    let (first, last) = (LAST_STORED + 10, LAST - 10);
    let part = ReplayRange {
        since: Some(moment_of(&world, first)),
        until: Some(moment_of(&world, last)),
        from_first_event: false,
    };
    let expected = &all[usize::try_from(first - 1).unwrap()..usize::try_from(last).unwrap()];
    assert_eq!(replayed(part).unwrap(), expected);
    let whole = ReplayRange { from_first_event: true, ..part };
    assert_eq!(replayed(whole).unwrap(), expected);
    spoil(&world, 2, LAST_STORED);
    assert_eq!(replayed(part).unwrap(), expected);
    replayed(whole).unwrap_err();
}

#[test]
fn another_organization_gets_no_state() {
    let world = of_one_long_life();
    let id = world.database().text(&format!("select min(aggregate_id) from read_model.{STATES}"));
    let last = |organization: &str| {
        wait(async {
            let mut connection = world.database().pool().acquire().await.unwrap();
            last_identity_rows(&mut connection, organization, &id, Upto::Sequence(LAST)).await.unwrap()
        })
    };
    assert_eq!(last(world.organization_id()).map(|stored| stored.sequence), Some(LAST_STORED));
    assert!(last("org_of_others").is_none());
}

#[test]
fn events_after_the_one_that_is_asked_for_are_not_read() {
    let world = of_one_long_life();
    let admin = world.admin();
    let asked = paths(&world, 700);
    let answers = || asked.clone().map(|path| admin.get(&path).must_be(200).bytes);
    let before = answers();
    spoil(&world, 701, LAST);
    assert_eq!(answers(), before);
}

#[test]
fn a_process_that_meets_a_long_history_decides_on_the_last_stored_state() {
    let world = of_one_long_life();
    spoil(&world, SPACING + 1, LAST_STORED);
    let world = world.restarted();
    let admin = world.admin();
    let changed = admin.change("crowd-1", &json!({ "description": "decided" })).must_be(200);
    assert_eq!(changed.version(), (LAST + 1).to_string());
    forget_states(&world);
    let world = world.restarted();
    let description = json!({ "description": "from the first event" });
    let change = world.admin().call(Method::PATCH, "/identities/crowd-1").json(&description);
    assert_eq!(change.open().unwrap().status(), 500, "the spoilt events are read");
}

#[test]
fn live_writes_store_the_states_that_a_rebuild_stores() {
    let world = World::new();
    let admin = world.admin();
    for handle in ["alpha", "bravo"] {
        admin.create(handle);
    }
    let secret = admin.register_secret("token");
    thread::scope(|scope| {
        for writer in 0..6 {
            let (admin, secret) = (&admin, secret["id"].as_str().unwrap());
            scope.spawn(move || {
                for number in 0..100 {
                    let change = json!({ "description": format!("{writer} {number}") });
                    admin.change("alpha", &change).ok();
                    if writer < 3 {
                        admin.patch(&format!("/vault/secrets/{secret}"), &change).ok();
                    }
                }
            });
        }
    });
    let count = |name: &str| world.database().number(&format!("select count(*) from read_model.{name}"));
    assert_eq!((count(STATES), count("vault_secret_states")), (2, 1));
    world.is_clean();
    let live = world.rows("read_model", STATES);
    world.rebuild(STATES, LIVE).unwrap();
    assert_eq!(world.rows("read_model", STATES), live);
}

#[test]
fn how_often_an_identity_was_renamed_is_part_of_its_state() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let mut renames = 0;
    let refused = loop {
        let (from, to) = (if renames % 2 == 0 { "alpha" } else { "bravo" }, ["bravo", "alpha"][renames % 2]);
        let answer = admin.change(from, &json!({ "agent_handle": to }));
        if answer.status != 200 {
            break (from, to, answer.status);
        }
        renames += 1;
        assert!(renames < 1_000, "there is no limit");
    };
    world.database().lengthen_last_life(600);
    for name in ["identities", STATES] {
        world.rebuild(name, LIVE).unwrap();
    }
    spoil(&world, SPACING + 1, SPACING * 2);
    let world = world.restarted();
    let (from, to, status) = refused;
    world.admin().change(from, &json!({ "agent_handle": to })).refused(status);
}
