//! The signing key is replaced: who knows the old key follows it to the new one, and the old one signs and writes nothing any more.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use identity_log::proof::{Refusal, SignError};
use identity_proof::SigningKey;
use identityd::operator::Operator;
use identityd::signing::{GivenKey, Replacement, SigningSettings};
use serde_json::json;
use tempfile::TempDir;

use super::{export, grow, sign, signer, verifier_key, verify, with_a_history};
use crate::harness::{Database, World, eventually, wait};

fn replace(database: &Database) -> anyhow::Result<Replacement> {
    wait(database.signing().replace_key(database.pool(), None))
}

/// The text of the present key.
fn key_text(database: &Database) -> String {
    fs::read_to_string(database.signing().data_dir.join("signing/key")).unwrap()
}

/// A host that is given its key, with a folder of its own.
fn host(key: &str, data_dir: &Path) -> SigningSettings {
    SigningSettings { data_dir: data_dir.to_owned(), key: Some(GivenKey::from(key.to_owned())), etcd: None }
}

/// A world whose key was replaced, and the text of the old key.
fn replaced(world: World) -> (World, String) {
    let old = key_text(world.database());
    let world = world.restarted_after(|database| drop(replace(database).unwrap()));
    (world, old)
}

#[test]
fn a_running_service_keeps_its_key() {
    let world = with_a_history();
    let (before, refused) = (key_text(world.database()), replace(world.database()).unwrap_err());
    assert!(refused.to_string().contains("stop every process"), "{refused:#}");
    assert_eq!(key_text(world.database()), before);
}

#[test]
fn whoever_knows_the_old_key_follows_it_to_the_new_one() {
    let world = with_a_history();
    let (earlier, old_key) = (sign(&world), verifier_key(&world));
    let (world, _) = replaced(replaced(world).0);
    grow(&world, ["golf", "hotel"]);
    sign(&world);
    let new_key = String::from_utf8(world.admin().get("/log/key").must_be(200).bytes).unwrap();
    assert_ne!(new_key.trim(), old_key);
    let streamed = world.auditor().call(reqwest::Method::GET, "/events");
    let streamed = streamed.header("Accept", "application/x-ndjson").send().must_be(200).bytes;
    for exported in [export(&world), super::file(streamed)] {
        let report = verify(&exported, &old_key, Some(&earlier)).unwrap();
        assert_eq!(report.successor, Some(signer(&world).key().introduced_name()));
        assert_eq!(report.proved, report.checkpoint.size);
        let report = verify(&exported, &new_key, Some(&earlier));
        let fault = report.expect_err("the new key does not vouch for what the old one signed");
        assert!(fault.what.contains("not signed by this key"), "{fault}");
        assert_eq!(verify(&exported, &new_key, None).unwrap().successor, None);
        let stranger = SigningKey::from_seed(&[9; 32]).verifier_key(new_key.split('+').next().unwrap());
        verify(&exported, &stranger, None).unwrap_err();
    }
}

#[test]
fn an_old_key_signs_and_writes_nothing_any_more() {
    let (world, old) = replaced(with_a_history());
    let (folder, pool) = (TempDir::new().unwrap(), world.database().pool());
    let old = host(&old, folder.path());
    let signer = old.any_signer(pool.clone()).unwrap().trusting_checkpoints(true);
    let refused = wait(signer.sign(world.organization_id())).unwrap_err();
    assert!(matches!(refused, SignError::Refused(Refusal::Replaced)), "{refused:?}");
    let epoch = wait(signer.begin_epoch(world.organization_id())).unwrap_err();
    assert!(matches!(epoch, SignError::Refused(Refusal::Replaced)), "{epoch:?}");
    let written = world.stores_nothing(|| {
        wait(Operator::new(pool.clone(), old.clone()).create_organization("late")).map(|_| ())
    });
    assert!(written.unwrap_err().to_string().contains("this signing key was replaced"));
    grow(&world, ["golf"]);
    sign(&world);
}

#[test]
fn a_replacement_that_was_cut_off_is_completed() {
    let (world, old) = replaced(with_a_history());
    let (new, folder) = (key_text(world.database()), world.database().signing().data_dir.join("signing"));
    let world = world.restarted_after(|database| {
        fs::rename(folder.join("key"), folder.join("key.next")).unwrap();
        fs::copy(folder.join("key.next"), folder.join("key")).unwrap();
        fs::write(folder.join("key"), &old).unwrap();
        assert_eq!(replace(database).unwrap().logs, 0);
        assert_eq!(key_text(database), new);
    });
    grow(&world, ["golf"]);
    sign(&world);
}

#[test]
fn a_host_that_has_not_signed_since_goes_on_with_the_new_key() {
    let world = with_a_history();
    let (elsewhere, id) = (TempDir::new().unwrap(), world.organization_id().to_owned());
    let there = host(&key_text(world.database()), elsewhere.path());
    let first = there.any_signer(world.database().pool().clone()).unwrap().trusting_checkpoints(true);
    wait(first.sign(&id)).unwrap();
    let (world, _) = replaced(world);
    grow(&world, ["golf"]);
    let there = host(&key_text(world.database()), elsewhere.path());
    let signed = wait(there.any_signer(world.database().pool().clone()).unwrap().sign(&id)).unwrap();
    assert_eq!(signed, Some(sign(&world)));
}

#[test]
fn a_service_that_goes_on_with_the_old_key_writes_nothing() {
    let world = with_a_history();
    // Its listener connects again; until then it does not have the lock.
    eventually("the key is replaced beside the service", || {
        world.database().execute(
            "select pg_terminate_backend(pid) from pg_locks
             where locktype = 'advisory' and pid <> pg_backend_pid()
               and database = (select oid from pg_database where datname = current_database())",
        );
        replace(world.database()).is_ok()
    });
    let admin = world.admin();
    world.stores_nothing(|| {
        for handle in ["late", "later"] {
            assert_eq!(admin.try_create(handle, json!({})).must_be(503).json()["code"], "unavailable");
        }
    });
    let world = world.restarted();
    grow(&world, ["late"]);
    sign(&world);
}

#[test]
fn a_key_that_was_replaced_is_never_the_next_one() {
    let world = with_a_history();
    let first = key_text(world.database());
    world.restarted_after(|database| {
        replace(database).unwrap();
        let (second, folder) = (key_text(database), TempDir::new().unwrap());
        let file = folder.path().join("first");
        fs::write(&file, &first).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let second = host(&second, folder.path());
        let refused = wait(second.replace_key(database.pool(), Some(&file))).unwrap_err();
        assert!(refused.to_string().contains("replaced before"), "{refused:#}");
    });
}

#[test]
fn a_note_that_the_key_has_not_signed_replaces_nothing() {
    let world = with_a_history();
    let key = signer(&world).key().introduced_name();
    world.database().execute(&format!(
        "insert into signing_key_introductions (old_key, note) values ('{key}', 'forged')"
    ));
    let (world, _) = replaced(world.restarted());
    grow(&world, ["golf"]);
    sign(&world);
}

#[test]
fn a_key_that_was_left_from_an_attempt_is_made_anew() {
    let world = with_a_history();
    let left = world.database().signing().data_dir.join("signing/key.next");
    let known = SigningKey::from_seed(&[8; 32]).expose();
    fs::write(&left, &known).unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o600)).unwrap();
    let (world, _) = replaced(world);
    assert_ne!(key_text(world.database()).trim(), known);
}
