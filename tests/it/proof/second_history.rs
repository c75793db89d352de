//! No second history is ever signed: not after a backup was restored, and not after the log was changed.

use identity_log::proof::signer::Signer;
use identity_log::proof::{Refusal, SignError, Signed};
use identity_proof::Checkpoint;
use identityd::signing::SigningSettings;
use tempfile::TempDir;

use super::{export, grow, refused, sign, signer, verifier_key, verify, with_a_history};
use crate::harness::{Database, World, eventually, wait};

/// Signs, makes a backup, signs more events, and restores the backup. The database lacks the second checkpoint.
fn restored() -> (World, Signed, Signed) {
    let world = with_a_history();
    let old = sign(&world);
    world.database().back_up();
    grow(&world, ["golf", "hotel"]);
    let new = sign(&world);
    (world.restarted_after(Database::restore), old, new)
}

#[test]
fn a_restored_backup_is_refused_at_once() {
    let (world, old, new) = restored();
    let (signed, found) = (new.checkpoint.size, old.checkpoint.size);
    assert_eq!(refused(&world), Refusal::Smaller { signed, found });
    world.admin().get("/log/checkpoint").refused_as(503, "log_refused");
    world.admin().get("/log/inclusion/1").refused_as(503, "log_refused");
    world.stranger().raw("GET", "/readyz", b"").must_be(200);
}

#[test]
fn a_restored_backup_that_was_written_on_is_refused() {
    let (world, old, new) = restored();
    grow(&world, ["other", "others", "another"]);
    assert_eq!(refused(&world), Refusal::Different { signed: new.checkpoint.size });
    let admin = world.admin();
    admin.get("/log/checkpoint").refused_as(503, "log_refused");
    // The events up to the backup are still proved, but they are fewer than the new checkpoint has.
    let fault = verify(export(&world), &verifier_key(&world), Some(&new)).unwrap_err();
    assert_eq!(fault.sequence, Some(old.checkpoint.size + 1));
    let signed = world.database().number("select count(*) from checkpoints where epoch = 1");
    world.restarted_after(|database| {
        assert_eq!(database.number("select count(*) from checkpoints where epoch = 1"), signed);
    });
}

#[test]
fn a_new_epoch_is_signed_under_a_name_of_its_own() {
    let (world, _, new) = restored();
    grow(&world, ["other", "others", "another"]);
    let begun = wait(signer(&world).begin_epoch(world.organization_id())).unwrap().unwrap();
    assert_eq!(begun.checkpoint.origin, format!("identityd/{}/2", world.organization_id()));
    let world = world.restarted();
    let note = String::from_utf8(world.admin().get("/log/checkpoint").must_be(200).bytes).unwrap();
    let key = String::from_utf8(world.admin().get("/log/key").must_be(200).bytes).unwrap();
    Checkpoint::open(&note, &key).unwrap();
    verify(export(&world), &key, None).expect("the new epoch is a history of its own");
    let fault = verify(export(&world), &key, Some(&new)).unwrap_err();
    let expected = format!("the first {} events are not those that were signed", new.checkpoint.size);
    assert_eq!(fault.what, expected);
    grow(&world, ["more"]);
    assert_eq!(sign(&world).epoch, 2);
}

#[test]
fn a_log_whose_signed_end_was_replaced_is_refused() {
    let world = with_a_history();
    let signed = sign(&world).checkpoint.size;
    world.database().execute(&format!(
        "do $$ begin
             set local session_replication_role = replica;
             update events set leaf_hash = sha256('another') where organization_sequence = {signed};
         end $$"
    ));
    assert_eq!(refused(&world), Refusal::Different { signed });
}

#[test]
fn a_log_with_a_gap_is_refused() {
    let world = with_a_history();
    let signed = sign(&world).checkpoint.size;
    let world = world.restarted_after(|database| {
        database.execute("update organization_heads set sequence = sequence + 5");
    });
    assert_eq!(refused(&world), Refusal::Gap { sequence: signed + 1 });
}

#[test]
fn another_key_does_not_go_on_with_the_history_of_the_first() {
    let world = with_a_history();
    sign(&world);
    let elsewhere = TempDir::new().unwrap();
    let mut signing = world.database().signing();
    signing.data_dir = elsewhere.path().to_owned();
    let stranger = signing.any_signer(world.database().pool().clone()).unwrap();
    let refusal = wait(stranger.sign(world.organization_id())).unwrap_err();
    assert!(matches!(refusal, SignError::Refused(Refusal::OtherKey)), "{refusal:?}");
}

#[test]
fn signers_of_several_processes_sign_one_history() {
    let world = with_a_history();
    let organization_id = world.organization_id().to_owned();
    let signers: Vec<_> = (0..4).map(|_| signer(&world)).collect();
    for handle in ["golf", "hotel", "india", "juliet"] {
        grow(&world, [handle]);
        let signing = signers.iter().map(|signer| signer.sign(&organization_id));
        let signed: Vec<Signed> = wait(futures::future::join_all(signing))
            .into_iter()
            .map(|signed| signed.unwrap().unwrap())
            .collect();
        assert!(signed.windows(2).all(|pair| pair[0] == pair[1]), "{signed:?}");
    }
    verify(export(&world), &verifier_key(&world), None).unwrap();
}

#[test]
fn the_key_is_for_its_owner_alone_and_stays() {
    use std::os::unix::fs::PermissionsExt as _;

    let world = World::new();
    let signing = world.database().signing();
    let file = signing.data_dir.join("signing/key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let key = verifier_key(&world);
    let world = world.restarted();
    assert_eq!(verifier_key(&world), key);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = signing.any_signer(world.database().pool().clone()).unwrap_err();
    assert!(error.to_string().contains("is open to other users"), "{error}");
}

/// A signer on another host, with the same key and a memory of its own. It takes what it finds for what was signed last.
fn signer_elsewhere(world: &World) -> (Signer, TempDir) {
    let (signer, folder) = signer_without_memory(world.database());
    (signer.trusting_checkpoints(true), folder)
}

/// The same, but it was not told to trust what it finds.
fn signer_without_memory(database: &Database) -> (Signer, TempDir) {
    let key = std::fs::read_to_string(database.signing().data_dir.join("signing/key")).unwrap();
    let folder = TempDir::new().unwrap();
    let signing = SigningSettings { data_dir: folder.path().to_owned(), key: Some(key.into()), etcd: None };
    (signing.any_signer(database.pool().clone()).unwrap(), folder)
}

/// A host remembers the checkpoints of other hosts, whether it reviewed the logs or was asked for the last checkpoint.
#[test]
fn what_was_signed_elsewhere_is_remembered_here() {
    for looks in [true, false] {
        let world = with_a_history();
        let (old, organization_id) = (sign(&world), world.organization_id().to_owned());
        world.database().back_up();
        grow(&world, ["golf", "hotel"]);
        let new = sign(&world);
        let (elsewhere, _folder) = signer_elsewhere(&world);
        if looks {
            wait(elsewhere.review()).unwrap();
        } else {
            assert_eq!(wait(elsewhere.last(&organization_id)).unwrap(), Some(new.clone()));
        }
        let world = world.restarted_after(Database::restore);
        let (signed, found) = (new.checkpoint.size, old.checkpoint.size);
        match wait(elsewhere.sign(&organization_id)) {
            Err(SignError::Refused(refusal)) => assert_eq!(refusal, Refusal::Smaller { signed, found }),
            other => panic!("{other:?} instead of a refusal"),
        }
        drop(world);
    }
}

/// The database has no unsigned events, and nobody writes or asks for a proof.
#[test]
fn a_log_that_rests_is_refused_too() {
    let (world, old, new) = restored();
    let here = signer(&world);
    wait(here.sign_all()).unwrap();
    assert_eq!(here.refusal(world.organization_id()), None, "there is nothing to be signed");
    wait(here.review()).unwrap();
    let (signed, found) = (new.checkpoint.size, old.checkpoint.size);
    assert_eq!(here.refusal(world.organization_id()), Some(Refusal::Smaller { signed, found }));
}

/// Two histories with the same epoch would have the same name.
#[test]
fn an_epoch_that_was_begun_elsewhere_is_not_begun_again() {
    let world = with_a_history();
    sign(&world);
    world.database().back_up();
    let begun = wait(signer(&world).begin_epoch(world.organization_id())).unwrap().unwrap();
    assert_eq!(begun.epoch, 2);
    let (elsewhere, _folder) = signer_elsewhere(&world);
    wait(elsewhere.review()).unwrap();
    let world = world.restarted_after(Database::restore);
    let again = wait(elsewhere.begin_epoch(world.organization_id())).unwrap().unwrap();
    assert_eq!(again.epoch, 3);
}

#[test]
fn signers_with_folders_of_their_own_sign_one_history() {
    let world = with_a_history();
    let organization_id = world.organization_id().to_owned();
    let hosts: Vec<(Signer, TempDir)> = (0..3).map(|_| signer_elsewhere(&world)).collect();
    for handle in ["golf", "hotel", "india"] {
        grow(&world, [handle]);
        let signing = hosts.iter().map(|(signer, _)| signer.sign(&organization_id));
        let signed = wait(futures::future::join_all(signing));
        let signed: Vec<Signed> = signed.into_iter().map(|signed| signed.unwrap().unwrap()).collect();
        assert!(signed.windows(2).all(|pair| pair[0] == pair[1]), "{signed:?}");
    }
    verify(export(&world), &verifier_key(&world), None).unwrap();
}

/// A host with an empty data directory cannot know that the database has lost what was signed.
#[test]
fn a_host_that_has_signed_nothing_signs_no_second_history_unless_it_is_told_to() {
    let (world, _, _) = restored();
    grow(&world, ["other", "others", "another"]);
    let organization_id = world.organization_id();
    let (forgetful, folder) = signer_without_memory(world.database());
    for _ in 0..2 {
        let refusal = wait(forgetful.sign(organization_id)).unwrap_err();
        assert!(matches!(refusal, SignError::Refused(Refusal::Unremembered)), "{refusal:?}");
        let refusal = wait(forgetful.begin_epoch(organization_id)).unwrap_err();
        assert!(matches!(refusal, SignError::Refused(Refusal::Unremembered)), "{refusal:?}");
        wait(forgetful.review()).unwrap();
        wait(forgetful.sign_all()).unwrap();
        assert_eq!(forgetful.refusal(organization_id), Some(Refusal::Unremembered));
    }
    let count = "select count(*) from checkpoints where epoch = 1";
    let signed = world.database().number(count);
    assert_eq!(wait(forgetful.trust()).unwrap(), 1);
    assert_eq!(world.database().number(count), signed + 1);
    let key = std::fs::read_to_string(world.database().signing().data_dir.join("signing/key")).unwrap();
    let signing = SigningSettings { data_dir: folder.path().to_owned(), key: Some(key.into()), etcd: None };
    let restarted = signing.any_signer(world.database().pool().clone()).unwrap();
    wait(restarted.sign(organization_id)).expect("what it was told is remembered");
}

/// Whichever host of a new installation signs first.
#[test]
fn a_host_that_was_there_before_the_first_checkpoint_needs_no_word() {
    let database = Database::with_home();
    let id = database.text("select id from read_model.organizations");
    let [(early, _one), (first, _two), (late, _three)] = [(); 3].map(|()| signer_without_memory(&database));
    wait(early.begin());
    wait(first.sign(&id)).expect("nothing was signed yet");
    wait(early.sign(&id)).expect("it has been there from the beginning");
    wait(late.begin());
    let refusal = wait(late.sign(&id)).unwrap_err();
    assert!(matches!(refusal, SignError::Refused(Refusal::Unremembered)), "{refusal:?}");
}

/// Nobody has to be told anything where nothing was signed yet.
#[test]
fn the_first_host_needs_no_word() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    eventually("it is signed", || admin.get("/log/checkpoint").status == 200);
}
