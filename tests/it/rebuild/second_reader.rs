//! The second reader: what differs between the log, our folds and the read models is named.

use identity_projections::second_reader::{
    Comparison, MAX_SAMPLED_EVENTS, compare_all, compare_organization, compare_sample,
};

use super::faults::{last, world};
use crate::harness::{World, wait};

/// More aggregates than a test makes.
const ALL: u32 = 1_000;

impl World {
    fn compare_all(&self) -> Comparison {
        wait(compare_all(self.database().pool())).unwrap()
    }

    fn compare_sample(&self, size: u32) -> Comparison {
        wait(compare_sample(self.database().pool(), size)).unwrap()
    }

    /// Compares the aggregates of the organization of these identities.
    fn compare_organization(&self) -> Comparison {
        let organization = self.database().text("select organization_id from read_model.identities limit 1");
        wait(compare_organization(self.database().pool(), &organization)).unwrap()
    }
}

/// The differences, as one line each.
fn lines(compared: &Comparison) -> Vec<String> {
    compared
        .differences
        .iter()
        .map(|difference| format!("{} {}: {}", difference.what, difference.id, difference.how))
        .collect()
}

/// Asserts that all comparisons name exactly these differences.
#[track_caller]
fn all_name(world: &World, expected: &[String]) {
    assert_eq!(lines(&world.compare_all()), expected, "all");
    assert_eq!(lines(&world.compare_organization()), expected, "of the organization");
    assert_eq!(lines(&world.compare_sample(ALL)), expected, "of a sample");
}

#[test]
fn a_log_that_nobody_has_touched_is_the_same_for_both_readers() {
    let world = world();
    let all = world.compare_all();
    assert_eq!(lines(&all), Vec::<String>::new());
    assert_eq!(i64::try_from(all.events).unwrap(), world.database().number("select count(*) from events"));
    let aggregates =
        "select count(*) from (select distinct aggregate_type, aggregate_id from events) as aggregates";
    assert_eq!(i64::try_from(all.aggregates).unwrap(), world.database().number(aggregates));
    let of_one = world.compare_organization();
    assert!(of_one.differences.is_empty() && of_one.aggregates > 5, "{of_one:?}");
    let sample = world.compare_sample(3);
    assert!(sample.differences.is_empty() && sample.aggregates == 3, "{sample:?}");
    assert!(world.compare_sample(ALL).aggregates > 3);
}

/// The library panics, and reads all events of a page before it hands out the first one.
#[test]
fn an_event_that_the_second_reader_cannot_decode_is_named() {
    let world = world();
    let alpha = world.agent("alpha").id;
    world.admin().change("alpha", &serde_json::json!({"description": "tea"})).ok();
    let position = last(&world, "identity.description_changed");
    world.behind_our_back(&format!(
        "update events set payload = payload || '{{\"n\": 1e400}}' where position = {position}"
    ));
    let line = format!(
        "identity {alpha}: postgres-es cannot load it: its event 1: it, or one of the 499 events behind it, has a row that cannot \
         be decoded"
    );
    all_name(&world, &[line]);
}

#[test]
fn an_event_that_was_changed_is_named() {
    let world = world();
    let alpha = world.agent("alpha").id;
    world.admin().change("alpha", &serde_json::json!({"description": "tea"})).ok();
    let position = last(&world, "identity.description_changed");
    let change = |change: &str| {
        world.behind_our_back(&format!("update events set {change} where position = {position}"));
    };
    change("payload = jsonb_set(payload, '{description}', '\"rum\"')");
    all_name(&world, &[format!("identity {alpha}: identities has another row {alpha} than its events make")]);
    change("payload = jsonb_set(payload, '{description}', '7')");
    let sequence =
        world.database().number(&format!("select sequence from events where position = {position}"));
    all_name(
        &world,
        &[format!(
            "identity {alpha}: its event {sequence}, at position {position}, cannot be read: payload of event \
             identity.description_changed does not decode: invalid type: integer `7`, expected a string"
        )],
    );
    change("payload = jsonb_set(payload, '{description}', '\"tea\"'), metadata = '[]'");
    let [named] = lines(&world.compare_all()).try_into().unwrap();
    let start = format!("identity {alpha}: postgres-es cannot load it: its event {sequence}: invalid type: ");
    assert!(named.starts_with(&start), "{named}");
    change("metadata = '{}', aggregate_type = 'robot'");
    let unknown = format!("position {position}: its event is of the unknown aggregate type robot");
    let row = format!("identity {alpha}: identities has another row {alpha} than its events make");
    all_name(&world, &[unknown, row]);
}

#[test]
fn an_id_that_no_row_can_have_is_named() {
    let world = world();
    let position = last(&world, "vault_secret.registered");
    world.behind_our_back(&format!("update events set aggregate_id = 'nothing' where position = {position}"));
    let found = lines(&world.compare_all());
    assert_eq!(found[0], "vault_secret nothing: its id is not a UUID");
    let secret = world.database().text("select id::text from read_model.vault_secrets");
    assert_eq!(
        found[1],
        format!("vault_secret {secret}: vault_secrets has a row of it, the log has no event")
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn an_event_that_is_gone_is_named() {
    let world = world();
    let alpha = world.agent("alpha").id;
    let place = |position: i64| {
        world
            .database()
            .number(&format!("select organization_sequence from events where position = {position}"))
    };
    let middle = last(&world, "identity.visibility_granted");
    let (end, next) = (last(&world, "vault_secret.registered"), last(&world, "identity.phone_provisioned"));
    let (middle_place, end_place) = (place(middle), place(end));
    let secret = world.database().text("select id::text from read_model.vault_secrets");
    world.behind_our_back(&format!("delete from events where position in ({middle}, {end})"));
    let named = [
        format!("identity {alpha}: its event 2 is missing: the one at position {next} is its event 3"),
        format!("vault_secret {secret}: vault_secrets has a row of it, the log has no event"),
    ];
    let gaps = [middle, end].map(|position| format!("position {position}: no event is there"));
    assert_eq!(lines(&world.compare_all()), [gaps, named.clone()].concat());
    let gaps =
        [middle_place, end_place].map(|place| format!("organization_sequence {place}: no event is there"));
    assert_eq!(lines(&world.compare_organization()), [gaps, named.clone()].concat());
    assert_eq!(lines(&world.compare_sample(ALL)), named[..1]);
}

#[test]
fn an_aggregate_without_a_first_event_is_named() {
    let world = world();
    let position = last(&world, "vault_secret.registered");
    let secret = world.database().text("select id::text from read_model.vault_secrets");
    world.behind_our_back(&format!("update events set sequence = 101 where position = {position}"));
    all_name(
        &world,
        &[format!(
            "vault_secret {secret}: its event 1 is missing: the one at position {position} is its event 101"
        )],
    );
}

#[test]
fn the_last_events_are_missed() {
    let world = world();
    let head = world.database().number("select position from log_head");
    world.behind_our_back(&format!("delete from events where position > {}", head - 2));
    let found = lines(&world.compare_all());
    assert_eq!(found[0], format!("position {} to {head}: no event is there", head - 1));
}

#[test]
fn a_row_that_was_changed_removed_or_added_is_named() {
    let world = world();
    let alpha = world.agent("alpha").id;
    let carol = world.agent("carol").id;
    let granted = world.database().text(&format!(
        "select target_id || '/' || access_id from read_model.visibility where target_id = '{alpha}'"
    ));
    let rule =
        world.database().text("select identity_id || '/' || vault_secret_id from read_model.vault_access");
    let secret = world.database().text("select id::text from read_model.vault_secrets");
    for (statement, expected) in [
        (
            format!("update read_model.identities set version = version + 1 where id = '{alpha}'"),
            format!("identity {alpha}: identities has another row {alpha} than its events make"),
        ),
        (
            format!("delete from read_model.visibility where target_id = '{alpha}'"),
            format!("identity {alpha}: visibility lacks the row {granted}"),
        ),
        (
            "update read_model.vault_access set access_id = gen_random_uuid()".to_owned(),
            format!("identity {alpha}: vault_access has another row {rule} than its events make"),
        ),
        (
            format!(
                "insert into read_model.vault_access
                 select '{carol}', vault_secret_id, created_at, access_id from read_model.vault_access"
            ),
            format!("identity {carol}: vault_access has the row {carol}/{secret}, which no event has made"),
        ),
        (
            "delete from read_model.vault_secrets".to_owned(),
            format!("vault_secret {secret}: vault_secrets lacks the row {secret}"),
        ),
    ] {
        world.behind_our_back(&statement);
        all_name(&world, &[expected]);
        for name in super::words::names() {
            world.rebuild(name, super::words::LIVE).unwrap();
        }
        all_name(&world, &[]);
    }
}

#[test]
fn a_row_of_an_aggregate_without_events_is_named() {
    let world = world();
    let id = "00000000-0000-4000-8000-000000000000";
    world.behind_our_back(&format!(
        "insert into read_model.api_keys
         select (jsonb_populate_record(key, jsonb_build_object('id', '{id}'))).* from
             (select distinct on (organization_id) key from read_model.api_keys as key
              where identity_id is not null limit 1) as one"
    ));
    let expected = [format!("api_key {id}: api_keys has a row of it, the log has no event")];
    assert_eq!(lines(&world.compare_all()), expected);
    assert_eq!(lines(&world.compare_organization()), expected);
}

#[test]
fn a_sample_leaves_long_lives_out_and_says_so() {
    let turns = MAX_SAMPLED_EVENTS + 200;
    let world = World::crowd(1, turns);
    let sample = world.compare_sample(100);
    let left: Vec<i64> = sample.left_out.iter().map(|aggregate| aggregate.events).collect();
    assert_eq!(left, [turns + 1]);
    assert!(sample.events < 100 && sample.differences.is_empty(), "{sample:?}");
    let all = world.compare_all();
    assert!(all.left_out.is_empty() && all.differences.is_empty(), "{all:?}");
    assert!(i64::try_from(all.events).unwrap() > turns);
}

#[test]
fn rows_of_another_version_are_not_compared() {
    let world = world();
    world.behind_our_back("update read_models set version = version - 1 where name = 'identities'");
    world.behind_our_back("update read_model.identities set version = version + 1");
    let all = world.compare_all();
    assert_eq!((all.outdated.as_slice(), all.differences.len()), (&["identities"][..], 0));
    world.behind_our_back("drop table read_model.identities");
    assert_eq!(lines(&world.compare_all()), ["read_model identities: there is no table of it"]);
}

#[test]
fn writes_go_on_beside_a_comparison() {
    let world = world();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for turn in 0..60 {
                world.admin().change("carol", &serde_json::json!({"description": turn.to_string()})).ok();
            }
        });
        while !writing.is_finished() {
            assert_eq!(lines(&world.compare_all()), Vec::<String>::new());
            assert_eq!(lines(&world.compare_organization()), Vec::<String>::new());
            assert_eq!(lines(&world.compare_sample(ALL)), Vec::<String>::new());
        }
    });
}
