//! A log with an event in the shape that an earlier version of the software wrote.

use std::sync::atomic::AtomicU64;

use identity_projections::rebuild::{self, Settings};
use identity_projections::{second_reader, tables};
use identity_proof::{Hash, SigningKey, leaf};
use identityd::audit::replay::{self, ReplayRange};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;

use super::forged::as_json;
use super::{export, sign, verifier_key, verify};
use crate::harness::{Database, World, wait, write_signing_key};

/// The change of a filter mode, as version 1 had it. It stands before other events.
fn with_an_older_event() -> World {
    let world = World::new();
    world.admin().create("alpha");
    world.admin().change("alpha", &json!({"mail_filter_mode": "whitelist"})).ok();
    world.admin().change("alpha", &json!({"description": "later"})).ok();
    world.restarted_after(|database| {
        database.tamper(
            "update events
             set payload = payload - 'inbound_filter_mode' - 'outbound_filter_mode', event_version = '1'
             where event_type = 'identity.filter_mode_changed';
             delete from checkpoints;
             delete from merkle_tiles",
        );
        seal(database);
        std::fs::remove_dir_all(database.signing().data_dir.join("signing")).unwrap();
        write_signing_key(&database.signing().data_dir);
    })
}

/// Gives the older event the leaf hash and the seal that it had.
fn seal(database: &Database) {
    let envelope: Value = serde_json::from_str(&database.text(
        r#"select json_build_object(
               'aggregate_id', aggregate_id, 'aggregate_type', aggregate_type, 'event_type', event_type,
               'event_version', event_version, 'metadata', metadata, 'organization_id', organization_id,
               'organization_sequence', organization_sequence, 'payload', payload,
               'recorded_at', to_char(recorded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'sequence', sequence)::text
           from events where event_version = '1' and event_type = 'identity.filter_mode_changed'"#,
    ))
    .unwrap();
    let leaf = leaf::of(&envelope).unwrap();
    let seal = Hash(SigningKey::from_seed(&[7; 32]).seal_key().seal(&leaf));
    database.tamper(&format!(
        "update events set leaf_hash = decode('{leaf}', 'base64'), seal = decode('{seal}', 'base64')
         where event_version = '1' and event_type = 'identity.filter_mode_changed'"
    ));
}

/// The older event, as the API shows it.
fn older_event(world: &World) -> Value {
    let page = world.admin().get("/events?event_type=identity.filter_mode_changed").ok();
    let [event] = page["events"].as_array().unwrap().as_slice() else { panic!("{page}") };
    event.clone()
}

/// The filter modes of mail in a document.
fn modes(document: &Value) -> [&str; 3] {
    ["mail_filter_mode", "mail_inbound_filter_mode", "mail_outbound_filter_mode"]
        .map(|field| document[field].as_str().unwrap())
}

#[test]
fn an_older_event_is_folded_by_every_reader() {
    let world = with_an_older_event();
    let admin = world.admin();
    let before = admin.identity("alpha");
    assert_eq!(modes(&before), ["whitelist"; 3]);
    // A rebuild scans the log.
    let options: PgConnectOptions = world.database().url().parse().unwrap();
    for table in tables() {
        let verified = wait(rebuild::verify(&options, table.as_ref(), &AtomicU64::new(0))).unwrap();
        assert_eq!(verified.differences, [], "{}", table.name());
        let progress = tokio::sync::watch::Sender::new(rebuild::Progress {
            phase: rebuild::Phase::Fold,
            done: 0,
            total: 0,
        });
        let settings = Settings { workers: 2, cut_over: true };
        wait(rebuild::rebuild_until(&options, table, settings, &progress, std::future::pending())).unwrap();
    }
    assert_eq!(admin.identity("alpha"), before);
    // The past is folded from the history of an organization.
    let at = |version: u8| admin.get(&format!("/identities/alpha?as_of=sequence:{version}")).ok();
    assert_eq!(modes(&at(1)), ["blacklist"; 3]);
    assert_eq!(modes(&at(2)), ["whitelist"; 3]);
    let compared = wait(second_reader::compare_all(world.database().pool())).unwrap();
    assert_eq!(compared.differences, []);
    // A write decides by the history of the identity.
    let changed = admin.change("alpha", &json!({"mail_outbound_filter_mode": "blacklist"})).ok();
    assert_eq!(modes(&changed), ["whitelist", "whitelist", "blacklist"]);
}

#[test]
fn an_older_event_is_exported_as_it_was_signed() {
    let world = with_an_older_event();
    sign(&world);
    let event = older_event(&world);
    assert_eq!(event["event_version"], "1");
    let payload =
        json!({"type": "identity.filter_mode_changed", "channel": "mail", "filter_mode": "whitelist"});
    assert_eq!(event["payload"], payload);
    let exported = export(&world);
    let report = verify(&exported, &verifier_key(&world), None).unwrap();
    assert_eq!((report.proved, report.unproved.len()), (report.events, 0));
    let replayed = replay::file(exported.path(), "alpha", ReplayRange::default()).unwrap();
    assert_eq!(replayed.steps[1].event.payload, as_json(&payload));
    assert_eq!(modes(replayed.steps[1].state.as_ref().unwrap()), ["whitelist"; 3]);
    let online =
        replay::database(world.database().pool(), world.organization_id(), "alpha", ReplayRange::default());
    assert_eq!(wait(online).unwrap().steps, replayed.steps);
}
