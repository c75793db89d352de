//! Events that the role that serves can insert without the signing key: with the leaf hash and the seal of another event, or at a
//! place where nobody looks. They are never signed.

use super::{export, grow, refused, sign, signer, verify, with_a_history};
use crate::harness::{Database, World, eventually, wait};

const COLUMNS: [&str; 13] = [
    "position",
    "organization_id",
    "organization_sequence",
    "aggregate_type",
    "aggregate_id",
    "sequence",
    "event_type",
    "event_version",
    "payload",
    "metadata",
    "recorded_at",
    "leaf_hash",
    "seal",
];

/// Inserts a copy of the event of the organization at `sequence`, with other values in some columns.
fn insert_a_copy(database: &Database, organization_id: &str, sequence: u64, changes: &[(&str, &str)]) {
    let value = |column: &&str| {
        let change = changes.iter().find(|(changed, _)| changed == column);
        change.map_or((*column).to_owned(), |(_, value)| (*value).to_owned())
    };
    let values: Vec<String> = COLUMNS.iter().map(value).collect();
    database.execute(&format!(
        "insert into events ({}) select {} from events
         where organization_id = '{organization_id}' and organization_sequence = {sequence}",
        COLUMNS.join(", "),
        values.join(", ")
    ));
}

const NEXT_POSITION: (&str, &str) = ("position", "(select position + 1 from log_head)");
const NEW_AGGREGATE: (&str, &str) = ("aggregate_id", "gen_random_uuid()::text");

/// The next place in the history of the organization.
const NEXT_SEQUENCE: (&str, &str) = (
    "organization_sequence",
    "(select sequence + 1 from organization_heads as head where head.organization_id = events.organization_id)",
);

fn move_heads(database: &Database, organization_id: &str) {
    database.execute("update log_head set position = position + 1");
    database.execute(&format!(
        "update organization_heads set sequence = sequence + 1 where organization_id = '{organization_id}'"
    ));
}

/// Why the log is refused, with what is forged appended to a signed history.
fn refused_with(world: World, forge: impl FnOnce(&Database, &str)) -> (World, String) {
    let organization_id = world.organization_id().to_owned();
    let world = world.restarted_after(|database| {
        forge(database, &organization_id);
        move_heads(database, &organization_id);
    });
    let why = refused(&world).to_string();
    (world, why)
}

#[test]
fn the_leaf_hash_and_the_seal_of_an_event_sign_no_other_event() {
    let forged = ("payload", "payload || '{\"description\": \"forged\"}'");
    for changes in [
        // The very same event once more.
        &[NEXT_POSITION, NEXT_SEQUENCE, NEW_AGGREGATE] as &[_],
        &[NEXT_POSITION, NEXT_SEQUENCE, ("sequence", "sequence + 1000")],
        &[NEXT_POSITION, NEXT_SEQUENCE, NEW_AGGREGATE, forged],
    ] {
        let world = with_a_history();
        let signed = sign(&world).checkpoint.size;
        let (world, why) = refused_with(world, |database, organization_id| {
            insert_a_copy(database, organization_id, 2, changes);
        });
        assert!(
            why.starts_with(&format!("event {} was not written by this installation", signed + 1)),
            "{why}"
        );
        let code = || world.admin().get("/log/checkpoint").status;
        eventually("the service refuses the log", || code() == 503);
        world.admin().get("/log/checkpoint").refused_as(503, "log_refused");
    }
}

#[test]
fn the_seal_of_an_event_of_another_organization_signs_nothing() {
    let world = with_a_history();
    world.other_admin().create("abroad");
    let signed = sign(&world).checkpoint.size;
    let abroad = world.database().text(&format!(
        "select max(organization_id) from events where organization_id <> '{}'",
        world.organization_id()
    ));
    let (_, why) = refused_with(world, |database, organization_id| {
        let (id, next) = (format!("'{organization_id}'"), (signed + 1).to_string());
        let changes =
            [NEXT_POSITION, ("organization_id", &id), ("organization_sequence", &next), NEW_AGGREGATE];
        insert_a_copy(database, &abroad, 1, &changes);
    });
    assert!(why.starts_with(&format!("event {} was not written by this installation", signed + 1)), "{why}");
}

/// Events before the first seal need none, but there is no place left before it.
#[test]
fn an_event_before_the_beginning_of_the_log_needs_a_seal() {
    let world = with_a_history();
    let signed = sign(&world).checkpoint.size;
    let (_, why) = refused_with(world, |database, organization_id| {
        let changes = [("position", "-5"), NEXT_SEQUENCE, NEW_AGGREGATE, ("seal", "null")];
        insert_a_copy(database, organization_id, 2, &changes);
    });
    assert!(why.starts_with(&format!("event {} was not written by this installation", signed + 1)), "{why}");
}

/// Such an event counts where aggregates are read, and the signer would never reach it.
#[test]
fn an_event_beside_the_history_is_missed_by_no_round() {
    for sequence in ["1000000", "0", "-7"] {
        let world = with_a_history();
        sign(&world);
        let organization_id = world.organization_id().to_owned();
        let changes = [("position", "1000000"), ("organization_sequence", sequence), NEW_AGGREGATE];
        insert_a_copy(world.database(), &organization_id, 2, &changes);
        // The log has no new events.
        let signer = signer(&world);
        wait(signer.review()).unwrap();
        let why = signer.refusal(&organization_id).expect("it is refused").to_string();
        assert!(why.starts_with(&format!("event {sequence} is outside of the history")), "{why}");
        assert_eq!(refused(&world).to_string(), why);
        // A new epoch would not have the event either.
        wait(signer.begin_epoch(&organization_id)).unwrap_err();
        world.database().tamper("delete from events where position = 1000000");
        wait(signer.sign_all()).unwrap();
        assert_eq!(signer.counts(), (0, 0));
    }
}

#[test]
fn an_event_of_an_organization_without_a_history_is_found() {
    let world = with_a_history();
    sign(&world);
    let changes = [("position", "1000000"), ("organization_id", "'org_nowhere'"), NEW_AGGREGATE];
    insert_a_copy(world.database(), world.organization_id(), 2, &changes);
    let signer = signer(&world);
    wait(signer.review()).unwrap();
    let why = signer.refusal("org_nowhere").expect("it is refused").to_string();
    assert!(why.starts_with("event 2 is outside of the history"), "{why}");
}

/// A value that no reader can read has no leaf. The same for a time that is none.
#[test]
fn an_event_that_cannot_be_hashed_is_refused() {
    for change in [("payload", "'{\"number\": 1e400}'"), ("recorded_at", "'infinity'")] {
        let world = with_a_history();
        let signed = sign(&world).checkpoint.size;
        let (world, why) = refused_with(world, |database, organization_id| {
            insert_a_copy(
                database,
                organization_id,
                2,
                &[NEXT_POSITION, NEXT_SEQUENCE, NEW_AGGREGATE, change],
            );
        });
        assert!(why.starts_with(&format!("event {} cannot be hashed", signed + 1)), "{why}");
        wait(signer(&world).begin_epoch(world.organization_id())).unwrap_err();
    }
}

/// An operator who has looked gets a history that is verified: the leaf is of the event as it is.
#[test]
fn a_new_epoch_signs_the_event_as_it_is() {
    let world = with_a_history();
    let signed = sign(&world).checkpoint.size;
    let (world, _) = refused_with(world, |database, organization_id| {
        let now = ("recorded_at", "(select recorded_at from log_head)");
        insert_a_copy(database, organization_id, 2, &[NEXT_POSITION, NEXT_SEQUENCE, NEW_AGGREGATE, now]);
    });
    let begun = wait(signer(&world).begin_epoch(world.organization_id())).unwrap().unwrap();
    assert_eq!((begun.epoch, begun.checkpoint.size), (2, signed + 1));
    let key = signer(&world).key().verifier_key(&begun.checkpoint.origin);
    let report = verify(export(&world), &key, None).unwrap();
    assert_eq!((report.proved, report.unproved), (signed + 1, vec![]));
    grow(&world, ["golf"]);
    sign(&world);
    let report = verify(export(&world), &key, None).unwrap();
    assert_eq!(report.proved, signed + 2);
}
