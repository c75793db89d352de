//! Checkpoints and proofs over HTTP.

use identity_proof::tree::{check_consistency, check_inclusion};
use identity_proof::{Checkpoint, Hash};
use reqwest::Method;
use serde_json::{Value, json};

use super::{grow, sign, signer, verifier_key, with_a_history};
use crate::harness::{Caller, World, eventually};

fn body(caller: &Caller, path: &str) -> String {
    String::from_utf8(caller.get(path).must_be(200).bytes).unwrap()
}

fn hash(value: &Value) -> Hash {
    Hash::parse_hash(value.as_str().unwrap()).unwrap()
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(hash).collect()
}

#[test]
fn the_checkpoint_opens_with_the_key_and_covers_every_event() {
    let world = with_a_history();
    let signed = sign(&world);
    let key = body(&world.admin(), "/log/key");
    assert_eq!(key.trim_end(), verifier_key(&world));
    let checkpoint = Checkpoint::open(&body(&world.admin(), "/log/checkpoint"), &key).unwrap();
    assert_eq!(checkpoint, signed.checkpoint);
    assert_eq!(checkpoint.size, u64::try_from(world.events()).unwrap());
}

#[test]
fn every_event_is_proved_to_be_in_every_checkpoint_that_covers_it() {
    let world = with_a_history();
    let admin = world.admin();
    let size = sign(&world).checkpoint.size;
    for size in 1..=size {
        for sequence in 1..=size {
            let proof = admin.get(&format!("/log/inclusion/{sequence}?size={size}")).ok();
            assert_eq!(proof["leaf_index"], sequence - 1);
            let (root, leaf) = (hash(&proof["root_hash"]), hash(&proof["leaf_hash"]));
            check_inclusion(&hashes(&proof["hashes"]), size, root, sequence - 1, leaf).unwrap();
        }
    }
}

#[test]
fn an_older_checkpoint_is_proved_to_be_the_beginning_of_a_newer_one() {
    let world = with_a_history();
    let old = sign(&world).checkpoint;
    grow(&world, ["golf", "hotel", "india"]);
    let new = sign(&world).checkpoint;
    let proof = world.admin().get(&format!("/log/consistency?from={}&to={}", old.size, new.size)).ok();
    check_consistency(&hashes(&proof["hashes"]), (old.size, old.root), (new.size, new.root)).unwrap();
    let to_the_last = world.admin().get(&format!("/log/consistency?from={}", old.size)).ok();
    assert_eq!(to_the_last, proof);
}

#[test]
fn a_proof_from_a_tree_that_was_changed_is_not_answered() {
    let world = with_a_history();
    let admin = world.admin();
    // More events than fit into one tile: the root is then made of what other tiles say of this one, and does not show the change.
    for number in 0..260 {
        admin.change("bravo", &json!({ "description": number.to_string() })).ok();
    }
    sign(&world);
    let paths = ["/log/inclusion/2", "/log/inclusion/1?size=257", "/log/consistency?from=2"];
    let statuses = || paths.map(|path| admin.call(Method::GET, path).open().unwrap().status().as_u16());
    assert_eq!(statuses(), [200; 3]);
    let change = "set hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1)";
    world.database().execute(&format!("update merkle_tiles {change} where level = 0 and place = 0"));
    assert_eq!(statuses(), [500; 3]);
}

#[test]
fn the_service_signs_by_itself() {
    let world = with_a_history();
    let before = u64::try_from(world.events()).unwrap();
    let covered = || {
        let answer = world.admin().get("/log/checkpoint");
        let note = String::from_utf8(answer.bytes).unwrap();
        answer.status == 200 && Checkpoint::read(&note).unwrap().size >= before
    };
    eventually("the service has signed what was committed", covered);
}

#[test]
fn what_was_committed_last_is_signed_before_the_service_ends() {
    let world = with_a_history().restarted_after(|database| {
        let unsigned = "select count(*) from organization_heads as head where sequence is distinct from
                        (select max(size) from checkpoints where organization_id = head.organization_id)";
        assert_eq!(database.number(unsigned), 0);
    });
    assert_eq!(signer(&world).refusal(world.organization_id()), None);
}

#[test]
fn only_the_whole_organization_is_told() {
    let world = with_a_history();
    sign(&world);
    let (agent, auditor) = (world.agent("outsider"), world.auditor());
    for path in ["/log/checkpoint", "/log/key", "/log/inclusion/1", "/log/consistency?from=1"] {
        agent.get(path).refused(403);
        world.stranger().get(path).refused(401);
        world.admin().get(path).must_be(200);
        auditor.get(path).must_be(200);
    }
}

#[test]
fn another_organization_has_a_history_of_its_own() {
    let world = with_a_history();
    let mine = sign(&world).checkpoint;
    let other = world.other_admin();
    let key = body(&other, "/log/key");
    assert!(!key.contains(world.organization_id()), "{key}");
    other.get(&format!("/log/inclusion/{}", mine.size)).refused(404);
}

#[test]
fn what_is_not_signed_is_not_found() {
    let world = World::new();
    let size = sign(&world).checkpoint.size;
    let beyond = size + 1000;
    for path in [
        format!("/log/inclusion/{beyond}"),
        format!("/log/inclusion/1?size={beyond}"),
        format!("/log/inclusion/{size}?size=1"),
        format!("/log/consistency?from={beyond}"),
        format!("/log/consistency?from=1&to={beyond}"),
        format!("/log/consistency?from={size}&to=1"),
    ] {
        world.admin().get(&path).refused(404);
    }
}

#[test]
fn nonsense_is_named() {
    let world = World::new();
    sign(&world);
    let admin = world.admin();
    for sequence in ["0", "-1", "x", "1.5", "99999999999999999999"] {
        admin.get(&format!("/log/inclusion/{sequence}")).invalid_at(&["path", "organization_sequence"]);
        admin.get(&format!("/log/inclusion/1?size={sequence}")).invalid_at(&["query", "size"]);
        admin.get(&format!("/log/consistency?from={sequence}")).invalid_at(&["query", "from"]);
        admin.get(&format!("/log/consistency?from=1&to={sequence}")).invalid_at(&["query", "to"]);
    }
    admin.get("/log/consistency").invalid_at(&["query", "from"]);
}
