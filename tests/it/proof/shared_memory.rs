//! All hosts remember in one etcd what was signed, so that no second history is signed, whatever a host itself has seen.

use std::fs;
use std::sync::Arc;

use async_trait::async_trait;
use identity_etcd::{Etcd as Client, Settings};
use identity_log::proof::memory::{Entry, Memory, MemoryError, Revision, SharedPlace, Unreachable};
use identity_log::proof::signer::Signer;
use identity_log::proof::{Refusal, SignError, Signed};
use identity_proof::{Checkpoint, SigningKey};
use identityd::signing::SigningSettings;
use identityd_tests::etcd::Etcd;
use tempfile::TempDir;

use super::{another_host, export, grow, refused, sign, signer, verifier_key, verify};
use crate::harness::{Caller, Database, World, eventually, wait};

/// An address at which nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";

fn signer_of(settings: &SigningSettings, database: &Database) -> Signer {
    settings.any_signer(database.pool().clone()).unwrap()
}

fn refusal_of(signer: &Signer, organization_id: &str) -> Refusal {
    let mut refusal = None;
    eventually("signing is refused", || match wait(signer.sign(organization_id)) {
        Err(SignError::Refused(why)) => {
            refusal = Some(why);
            true
        }
        // Another host has written to the memory at the same moment.
        Err(SignError::Memory(MemoryError::Overtaken)) => false,
        other => panic!("{other:?} instead of a refusal"),
    });
    refusal.unwrap()
}

/// The size of the last checkpoint that is shown.
fn shown(caller: &Caller) -> u64 {
    let note = String::from_utf8(caller.get("/log/checkpoint").must_be(200).bytes).unwrap();
    Checkpoint::read(&note).unwrap().size
}

/// Two hosts sign. Then the database loses what only the first one has signed, and goes on. Returns the second host, which was
/// asked to sign last before the loss, and the checkpoint that was lost.
fn after_a_lossy_failover(world: World) -> (World, Signer, TempDir, Signed) {
    let (settings, folder) = another_host(world.database());
    let second = signer_of(&settings, world.database()).trusting_checkpoints(true);
    grow(&world, ["alpha", "bravo", "carol"]);
    sign(&world);
    wait(second.review()).unwrap();
    world.database().back_up();
    grow(&world, ["golf", "hotel"]);
    let lost = sign(&world);
    let world = world.restarted_after(Database::restore);
    grow(&world, ["other", "others", "another"]);
    (world, second, folder, lost)
}

/// What happens without a shared memory: hosts differ in what they have seen.
#[test]
fn a_host_that_has_not_seen_the_last_checkpoint_signs_a_second_history_with_files() {
    let (world, second, _folder, lost) = after_a_lossy_failover(World::new());
    let signed = wait(second.sign(world.organization_id())).unwrap().unwrap();
    assert_eq!(signed.checkpoint.origin, lost.checkpoint.origin);
    let fault = verify(export(&world), &verifier_key(&world), Some(&lost)).unwrap_err();
    assert!(fault.what.contains("are not those that were signed"), "{fault}");
}

#[test]
fn a_host_that_has_not_seen_the_last_checkpoint_signs_no_second_history() {
    let Some(etcd) = Etcd::start() else { return };
    let (world, second, _folder, lost) = after_a_lossy_failover(World::with_etcd(&[&etcd.endpoint()]));
    let signed = lost.checkpoint.size;
    assert_eq!(refusal_of(&second, world.organization_id()), Refusal::Different { signed });
    assert_eq!(refused(&world), Refusal::Different { signed });
    let (third, _empty) = another_host(world.database());
    let service = world.beside_with(third);
    service.holder_of(world.admin_key()).get("/log/checkpoint").refused_as(503, "log_refused");
    // An operator's word on one host is one for all of them.
    let begun = wait(second.begin_epoch(world.organization_id())).unwrap().unwrap();
    assert_eq!(begun.epoch, 2);
    assert_eq!(wait(signer(&world).sign(world.organization_id())).unwrap(), Some(begun));
}

#[test]
fn a_new_host_needs_no_word() {
    let Some(etcd) = Etcd::start() else { return };
    let world = World::with_etcd(&[&etcd.endpoint()]);
    grow(&world, ["alpha"]);
    let signed = sign(&world);
    let (settings, folder) = another_host(world.database());
    let new = signer_of(&settings, world.database());
    assert_eq!(wait(new.sign(world.organization_id())).unwrap(), Some(signed));
    grow(&world, ["bravo"]);
    wait(new.sign(world.organization_id())).unwrap();
    verify(export(&world), &verifier_key(&world), None).unwrap();
    assert!(!folder.path().join("signing").exists(), "nothing is remembered in files");
}

/// A place in which another signer signs between what a signer reads and what it stores.
#[derive(Debug)]
struct Racing {
    etcd: Client,
    rival: Signer,
    organization_id: String,
}

#[async_trait]
impl SharedPlace for Racing {
    async fn read(&self, name: &str) -> Result<Option<Entry>, Unreachable> {
        self.etcd.read(name).await
    }

    async fn replace(
        &self,
        name: &str,
        text: &str,
        revision: Revision,
    ) -> Result<Option<Revision>, Unreachable> {
        if !name.ends_with("sealed-from") {
            self.rival.sign(&self.organization_id).await?;
        }
        self.etcd.replace(name, text, revision).await
    }
}

/// A database with a history that nobody has signed: the etcd of its service does not answer.
fn unsigned(handles: [&str; 2]) -> World {
    let world = World::with_etcd(&[NOBODY]);
    grow(&world, handles);
    world
}

/// The databases are two halves of a cell that has fallen apart: each has another history of one organization.
#[test]
fn of_two_signers_that_sign_at_the_same_time_one_signs() {
    let Some(etcd) = Etcd::start() else { return };
    let (one, other) = (unsigned(["alpha", "bravo"]), unsigned(["carol", "delta"]));
    let organization_id = one.organization_id().to_owned();
    assert_eq!(other.organization_id(), organization_id);
    for world in [&one, &other] {
        world.database().remember_in(&[&etcd.endpoint()]);
    }
    let key = SigningKey::parse(
        fs::read_to_string(one.database().signing().data_dir.join("signing/key")).unwrap().trim(),
    )
    .unwrap();
    let folder = TempDir::new().unwrap();
    let racing =
        Racing { etcd: client(&etcd), rival: signer(&other), organization_id: organization_id.clone() };
    let memory = Memory::in_files(folder.path().to_owned()).shared(Arc::new(racing), &key);
    let late = Signer::new(one.database().pool().clone(), key, memory);
    let overtaken = wait(late.sign(&organization_id)).unwrap_err();
    assert!(matches!(overtaken, SignError::Memory(MemoryError::Overtaken)), "{overtaken:?}");
    let count = "select count(*) from checkpoints";
    assert_eq!((one.database().number(count), other.database().number(count)), (0, 1));
    let signed = sign(&other).checkpoint.size;
    assert_eq!(refused(&one), Refusal::Different { signed });
}

fn client(etcd: &Etcd) -> Client {
    let endpoints = vec![etcd.endpoint()];
    Client::new(Settings { endpoints, authorities: vec![], certificate: None, account: None }).unwrap()
}

#[test]
fn while_etcd_is_away_nothing_is_signed_and_the_rest_goes_on() {
    let Some(mut etcd) = Etcd::start() else { return };
    let world = World::with_etcd(&[NOBODY, &etcd.endpoint()]);
    let admin = world.admin();
    grow(&world, ["alpha"]);
    let before = sign(&world).checkpoint.size;
    admin.metrics().has("identityd_signer_memory_up", 1.0);
    etcd.stop();
    grow(&world, ["bravo"]);
    eventually("it is noticed", || admin.metrics().value("identityd_signer_memory_up") == Some(0.0));
    eventually("it is counted", || admin.metrics().value("identityd_logs_unsigned") == Some(1.0));
    admin.get("/identities/bravo").must_be(200);
    assert_eq!(shown(&admin), before);
    let exported = admin.call(reqwest::Method::GET, "/events").header("Accept", "application/x-ndjson");
    let exported = super::file(exported.send().must_be(200).bytes);
    let report = verify(exported, &verifier_key(&world), None).unwrap();
    assert_eq!(report.proved, before, "the events after the last checkpoint are not proved");
    let away = wait(signer(&world).sign(world.organization_id())).unwrap_err();
    assert!(matches!(away, SignError::Memory(MemoryError::Away(_))), "{away:?}");
    etcd.start_again();
    let head = world.database().number("select max(organization_sequence) from events");
    eventually("it is signed", || i64::try_from(shown(&admin)) == Ok(head));
    admin.metrics().has("identityd_signer_memory_up", 1.0);
}

#[test]
fn a_service_starts_without_etcd_and_has_signed_nothing() {
    let world = World::with_etcd(&[NOBODY]);
    grow(&world, ["alpha"]);
    world.admin().get("/log/checkpoint").refused(503);
}

#[test]
fn an_empty_etcd_is_no_memory_of_a_database_that_was_signed() {
    let (Some(first), Some(second)) = (Etcd::start(), Etcd::start()) else { return };
    let world = World::with_etcd(&[&first.endpoint()]);
    grow(&world, ["alpha"]);
    sign(&world);
    let world = world.restarted_after(|database| database.remember_in(&[&second.endpoint()]));
    assert_eq!(refused(&world), Refusal::Unremembered);
    world.admin().get("/log/checkpoint").refused_as(503, "log_refused");
    assert_eq!(wait(signer(&world).trust()).unwrap(), 1);
    eventually("it is signed again", || world.admin().get("/log/checkpoint").status == 200);
}

/// Somebody has removed the keys, or etcd was set up anew at the same address.
#[test]
fn a_memory_that_is_lost_while_a_service_runs_is_not_made_again_without_a_word() {
    let Some(etcd) = Etcd::start() else { return };
    let world = World::with_etcd(&[&etcd.endpoint()]);
    grow(&world, ["alpha"]);
    sign(&world);
    let url = format!("{}/v3/kv/deleterange", etcd.endpoint());
    // All keys: from a zero byte to a zero byte.
    let all = serde_json::json!({"key": "AA==", "range_end": "AA=="});
    grow(&world, ["bravo"]);
    let mut refusal = None;
    // The service may note what it has just signed a moment after the keys were removed.
    eventually("the memory is lost", || {
        let removed = reqwest::Client::new().post(&url).json(&all).send();
        wait(removed).unwrap().error_for_status().unwrap();
        match wait(signer(&world).sign(world.organization_id())) {
            Err(SignError::Refused(why)) => refusal = Some(why),
            _ => refusal = None,
        }
        refusal.is_some()
    });
    assert_eq!(refusal, Some(Refusal::Unremembered));
    world.admin().get("/log/checkpoint").refused_as(503, "log_refused");
    wait(signer(&world).trust()).unwrap();
    eventually("it is signed again", || world.admin().get("/log/checkpoint").status == 200);
}

#[test]
fn files_are_brought_to_etcd_once() {
    let Some(etcd) = Etcd::start() else { return };
    let world = World::new();
    grow(&world, ["alpha", "bravo"]);
    let (mut settings, folder) = another_host(world.database());
    let with_files = signer_of(&settings, world.database()).trusting_checkpoints(true);
    wait(with_files.sign(world.organization_id())).unwrap();
    world.database().back_up();
    grow(&world, ["golf", "hotel"]);
    let new = sign(&world);
    let world = world.restarted_after(|database| database.remember_in(&[&etcd.endpoint()]));
    assert_eq!(shown(&world.admin()), new.checkpoint.size);
    // The files of the other host are older than what etcd has. The log continues both.
    settings.etcd = world.database().signing().etcd;
    let second = signer_of(&settings, world.database());
    assert_eq!(wait(second.sign(world.organization_id())).unwrap(), Some(new.clone()));
    for data_dir in [&world.database().signing().data_dir, folder.path()] {
        eventually("no file is left", || notes(data_dir).is_empty());
    }
    let world = world.restarted_after(Database::restore);
    let (signed, found) = (new.checkpoint.size, new.checkpoint.size - 2);
    assert_eq!(refusal_of(&second, world.organization_id()), Refusal::Smaller { signed, found });
}

/// The files of a data directory that are read as the memory of this host.
fn notes(data_dir: &std::path::Path) -> Vec<String> {
    let files = fs::read_dir(data_dir.join("signing")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.strip_suffix(".note").is_some() || name == "sealed-from").collect()
}

/// Two hosts have signed two histories with files. The database has that of the second host.
#[test]
fn what_files_remember_is_brought_before_anybody_signs() {
    let Some(etcd) = Etcd::start() else { return };
    let (world, second, _folder, lost) = after_a_lossy_failover(World::new());
    wait(second.sign(world.organization_id())).unwrap().unwrap();
    let world = world.restarted_after(|database| database.remember_in(&[&etcd.endpoint()]));
    let signed = lost.checkpoint.size;
    assert_eq!(refused(&world), Refusal::Different { signed });
    let (third, _empty) = another_host(world.database());
    assert_eq!(
        refusal_of(&signer_of(&third, world.database()), world.organization_id()),
        Refusal::Different { signed }
    );
}

/// The same, and the second host has been switched to etcd first.
#[test]
fn files_with_another_history_than_etcd_are_refused() {
    let Some(etcd) = Etcd::start() else { return };
    let (world, second, folder, lost) = after_a_lossy_failover(World::new());
    wait(second.sign(world.organization_id())).unwrap().unwrap();
    world.database().remember_in(&[&etcd.endpoint()]);
    let (settings, _empty) = another_host(world.database());
    let settings = SigningSettings { data_dir: folder.path().to_owned(), ..settings };
    let second = signer_of(&settings, world.database());
    wait(second.sign(world.organization_id())).unwrap().unwrap();
    let world = world.restarted();
    assert_eq!(refused(&world), Refusal::Different { signed: lost.checkpoint.size });
    let data_dir = world.database().signing().data_dir;
    assert_eq!(notes(&data_dir).len(), 1, "the checkpoint that was lost is still remembered");
    let begun = wait(signer(&world).begin_epoch(world.organization_id())).unwrap().unwrap();
    assert_eq!(begun.epoch, 2);
    assert_eq!(wait(second.sign(world.organization_id())).unwrap(), Some(begun));
    assert_eq!(notes(&data_dir), Vec::<String>::new());
}

#[test]
fn the_memory_goes_on_under_a_new_key() {
    let Some(etcd) = Etcd::start() else { return };
    let world = World::with_etcd(&[&etcd.endpoint()]);
    grow(&world, ["alpha"]);
    let (earlier, old_key) = (sign(&world), verifier_key(&world));
    let organization_id = world.organization_id().to_owned();
    let world = world.restarted_after(|database| {
        let new_key = wait(database.signing().replace_key(database.pool(), None)).unwrap().key;
        let id = new_key.split('+').nth(1).unwrap();
        let entry = wait(client(&etcd).read(&format!("identityd/{id}/{organization_id}.note"))).unwrap();
        assert!(entry.is_some(), "the new key has a memory before it signs anything");
    });
    grow(&world, ["bravo"]);
    let new = sign(&world);
    assert!(new.checkpoint.size > earlier.checkpoint.size);
    verify(export(&world), &old_key, Some(&earlier)).unwrap();
    let (settings, _folder) = another_host(world.database());
    let second = signer_of(&settings, world.database());
    assert_eq!(wait(second.sign(world.organization_id())).unwrap(), Some(new));
}
