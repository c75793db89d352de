//! Events that somebody without the signing key inserts into the database. They are never signed.

use identity_log::proof::Refusal;
use reqwest::Method;
use tempfile::TempDir;

use super::{grow, refused, sign, signer, with_a_history};
use crate::harness::{Database, eventually, wait};

/// Inserts a copy of the last event as the next one of its organization, as somebody with access to the database can.
fn insert_an_event(database: &Database, leaf_hash: &str, seal: &str) {
    database.execute(&format!(
        "with made as (
             insert into events (position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
                                 event_type, event_version, payload, metadata, recorded_at, leaf_hash, seal)
             select position + 1, organization_id, organization_sequence + 1, aggregate_type, aggregate_id,
                    sequence + 1, 'identity.status_changed', '1',
                    '{{\"type\": \"identity.status_changed\", \"status\": \"paused\"}}', metadata, recorded_at,
                    {leaf_hash}, {seal}
             from events order by position desc limit 1
             returning organization_id
         ), moved as (update organization_heads set sequence = sequence + 1 where organization_id in (table made))
         update log_head set position = position + 1"
    ));
}

fn events(database: &Database) -> u64 {
    u64::try_from(database.number("select max(organization_sequence) from events")).unwrap()
}

#[test]
fn an_event_without_a_seal_is_never_signed() {
    let forged_leaf = "sha256('any')";
    for (leaf_hash, seal) in [
        (forged_leaf, "null"),
        (forged_leaf, "''"),
        (forged_leaf, "seal"),
        ("leaf_hash", "sha256(seal)"),
        (forged_leaf, "decode(repeat('00', 32), 'hex')"),
    ] {
        let world = with_a_history();
        let signed = sign(&world).checkpoint.size;
        let world = world.restarted_after(|database| insert_an_event(database, leaf_hash, seal));
        assert_eq!(refused(&world), Refusal::Unsealed { sequence: signed + 1 }, "{leaf_hash}, {seal}");
        grow(&world, ["golf"]);
        assert_eq!(refused(&world), Refusal::Unsealed { sequence: signed + 1 });
        // The signer of the service looks at the log twice a second.
        let answer = || world.admin().call(Method::GET, "/log/checkpoint").open().unwrap().status().as_u16();
        eventually("the service refuses the log", || answer() == 503);
        world.admin().get("/log/checkpoint").refused_as(503, "log_refused");
        world.other_admin().create("abroad");
        wait(signer(&world).sign_all()).unwrap();
        world.other_admin().get("/log/checkpoint").must_be(200);
    }
}

/// Anybody can compute the leaf hash of an event. Only the owner of the key can compute its seal.
#[test]
fn an_event_that_was_changed_before_it_was_signed_is_never_signed() {
    let world = with_a_history().restarted_after(|database| {
        database.execute(
            "do $$ begin
                 set local session_replication_role = replica;
                 update events set leaf_hash = sha256('other') where position = (select position from log_head);
                 delete from checkpoints; delete from merkle_tiles;
             end $$",
        );
        std::fs::remove_dir_all(database.signing().data_dir.join("signing")).unwrap();
        crate::harness::write_signing_key(&database.signing().data_dir);
    });
    assert_eq!(refused(&world), Refusal::Unsealed { sequence: events(world.database()) });
}

#[test]
fn an_operator_who_has_looked_signs_it_in_a_new_epoch() {
    let world = with_a_history();
    sign(&world);
    let world = world.restarted_after(|database| insert_an_event(database, "sha256('any')", "null"));
    refused(&world);
    let begun = wait(signer(&world).begin_epoch(world.organization_id())).unwrap().unwrap();
    assert_eq!((begun.epoch, begun.checkpoint.size), (2, events(world.database())));
    grow(&world, ["golf"]);
    assert_eq!(sign(&world).epoch, 2);
}

/// Older versions wrote events without seals. The first process that seals signs these, and no later event without a
/// seal.
#[test]
fn events_of_before_there_were_seals_are_signed() {
    let strip = "do $$ begin
                     set local session_replication_role = replica;
                     update events set seal = null;
                     delete from checkpoints; delete from merkle_tiles;
                 end $$";
    let world = with_a_history().restarted_after(|database| {
        database.execute(strip);
        std::fs::remove_dir_all(database.signing().data_dir.join("signing")).unwrap();
        crate::harness::write_signing_key(&database.signing().data_dir);
    });
    let signed = sign(&world).checkpoint.size;
    assert_eq!(signed, events(world.database()));
    grow(&world, ["golf"]);
    let world = world.restarted_after(|database| insert_an_event(database, "sha256('any')", "null"));
    let forged = events(world.database());
    assert_eq!(refused(&world), Refusal::Unsealed { sequence: forged });
}

/// The position from which on every event must be sealed is stored beside the key, not in the database.
#[test]
fn seals_that_are_taken_away_are_missed() {
    let world = with_a_history();
    let signed = sign(&world).checkpoint.size;
    grow(&world, ["golf"]);
    let world = world.restarted_after(|database| {
        database.execute(
            "do $$ begin
                 set local session_replication_role = replica;
                 update events set seal = null;
             end $$",
        );
        insert_an_event(database, "sha256('any')", "null");
    });
    let Refusal::Unsealed { sequence } = refused(&world) else { panic!("refused for another reason") };
    assert!(sequence > signed);
}

/// Events that a command line with another key wrote would never be signed.
#[test]
fn a_command_line_with_another_key_writes_nothing() {
    let world = with_a_history();
    let (pool, folder) = (world.database().pool(), TempDir::new().unwrap());
    let mut signing = world.database().signing();
    signing.data_dir = folder.path().to_owned();
    let error = wait(signing.seal_key(pool)).unwrap_err().to_string();
    assert!(error.starts_with("there is no signing key in"), "{error}");
    signing.key = Some(identity_proof::SigningKey::from_seed(&[1; 32]).expose().into());
    let error = wait(signing.seal_key(pool)).unwrap_err().to_string();
    assert!(error.starts_with("the history of this database is sealed with another key"), "{error}");
}
