//! What is read of the vault belongs together, and has a bounded size in memory. Contract, sections 10.4 and 10.5.

use std::sync::Mutex;
use std::thread;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use crate::harness::{Answer, Caller, World, eventually, ids, read_while, text, wait};
use crate::vault_content::{allow, hash, initialize, path, secret, unlock};

/// How often a secret is changed while others read it.
const CHANGES: u32 = 60;

/// Base64 that tells a number.
fn content(number: u32) -> String {
    format!("{number:08}")
}

fn secrets_of(unlocked: &Value) -> Vec<Value> {
    unlocked["encrypted_secrets"].as_array().unwrap().clone()
}

#[track_caller]
fn is_of_one_version(secret: &Value) {
    assert_eq!(secret["name"], secret["encrypted_payload"], "the content of another version");
}

#[test]
fn a_secret_is_shown_with_the_content_of_its_version() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    initialize(&admin);
    let made = secret(&admin, &content(0), &content(0));
    allow(&admin, &made, &alpha.id);
    let read = |reader: &Caller| {
        is_of_one_version(&reader.get(&path(&made)).ok());
        secrets_of(&unlock(reader, "first")).iter().for_each(is_of_one_version);
    };
    read_while(&[&admin, &alpha, &alpha], read, || {
        for number in 1..=CHANGES {
            let change = json!({"name": content(number), "encrypted_payload": content(number)});
            admin.patch(&path(&made), &change).ok();
        }
    });
}

#[test]
fn the_answer_to_a_change_shows_what_others_have_changed_before() {
    let world = World::new();
    let admin = world.admin();
    let made = secret(&admin, "name", &content(0));
    let change = |field: &str, number: u32| {
        let changed = admin.patch(&path(&made), &json!({field: content(number)})).must_be(200);
        (changed.version().parse().unwrap(), changed.json())
    };
    let mut answers: Vec<(u32, Value)> = thread::scope(|scope| {
        let change = &change;
        let changing = ["name", "description"].map(|field| {
            scope.spawn(move || (1..=CHANGES).map(|number| change(field, number)).collect::<Vec<_>>())
        });
        changing.into_iter().flat_map(|changing| changing.join().unwrap()).collect()
    });
    answers.sort_by_key(|(version, _)| *version);
    for pair in answers.windows(2) {
        let [(_, before), (_, after)] = pair else { unreachable!() };
        let kept = ["name", "description"].into_iter().filter(|field| before[field] == after[field]).count();
        assert_eq!(kept, 1, "one change, of one field: {before} {after}");
    }
}

/// The agent asks for a secret, and waits for the table of contents. Meanwhile its access is revoked, and the content changes.
#[test]
fn content_of_after_a_revocation_is_shown_to_nobody_who_asked_before() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let made = secret(&admin, "mail", &content(1));
    allow(&admin, &made, &alpha.id);
    let mut elsewhere = wait(PgConnection::connect(world.database().owner_url())).unwrap();
    wait(elsewhere.execute("begin; lock table ciphertexts in access exclusive mode")).unwrap();
    let answer = thread::scope(|scope| {
        let asking = scope.spawn(|| alpha.get(&path(&made)));
        eventually("the read waits", || {
            let waiting = "select count(*) from pg_stat_activity
                           where datname = current_database() and wait_event_type = 'Lock'";
            world.database().number(waiting) > 0
        });
        admin.delete(&format!("{}/access/{}", path(&made), alpha.id)).no_content();
        let changed = format!("update ciphertexts set ciphertext = '{}'; commit", content(2));
        wait(elsewhere.execute(changed.as_str())).unwrap();
        asking.join().unwrap()
    });
    answer.refused(404);
}

#[test]
fn a_vault_is_unlocked_without_what_was_written_after_a_revocation() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    initialize(&admin);
    let made = secret(&admin, "mail", &content(0));
    // With more secrets, there is more time between the beginning and the end of a read.
    for _ in 0..60 {
        allow(&admin, &secret(&admin, "mail", &content(0)), &alpha.id);
    }
    let read = |reader: &Caller| {
        for shown in secrets_of(&unlock(reader, "first")) {
            assert_eq!(shown["encrypted_payload"], content(0), "it was written after the revocation");
        }
    };
    read_while(&[&alpha, &alpha, &alpha], read, || {
        for _ in 0..CHANGES {
            allow(&admin, &made, &alpha.id);
            admin.delete(&format!("{}/access/{}", path(&made), alpha.id)).no_content();
            for number in [1, 0] {
                admin.patch(&path(&made), &json!({"encrypted_payload": content(number)})).ok();
            }
        }
    });
}

fn is_streamed(answer: &Answer) -> bool {
    !answer.headers.contains_key("content-length")
}

/// Registers so many secrets, the newest first. Every third one is a reference.
fn crowd(admin: &Caller, count: usize, length: usize) -> Vec<Value> {
    let register = |number: usize| match number % 3 {
        0 => admin.register_secret("reference"),
        _ => secret(admin, "mail", &"A".repeat(length)),
    };
    let mut made: Vec<Value> = (0..count).map(register).collect();
    made.reverse();
    made
}

#[test]
fn a_long_vault_is_written_as_it_is_read_and_is_whole() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    initialize(&admin);
    let made = crowd(&admin, 160, 16_384);
    let usable: Vec<Value> = made.iter().step_by(2).cloned().collect();
    for secret in &usable {
        allow(&admin, secret, &alpha.id);
    }
    for (caller, visible) in [(&admin, &made), (&*alpha, &usable)] {
        let listed = caller.get("/vault/secrets");
        assert_eq!(ids(listed.json().as_array().unwrap()), ids(visible));
        assert!(is_streamed(&listed), "{listed}");
        let unlocked = caller.get(&format!("/vault/unlock?auth_hash={}", hash("first"))).must_be(200);
        assert!(is_streamed(&unlocked), "{unlocked}");
        let with_content: Vec<Value> =
            visible.iter().filter(|secret| secret["name"] == "mail").cloned().collect();
        let opened = secrets_of(&unlocked.json());
        assert_eq!(ids(&opened), ids(&with_content));
        assert!(opened.iter().all(|secret| text(&secret["encrypted_payload"]).len() == 16_384));
    }
    assert_eq!(alpha.list("/vault/secrets")[0]["access"].as_array().unwrap().len(), 1);
    let logins = admin.list("/vault/secrets?secret_type=login");
    assert_eq!(logins.len(), made.iter().filter(|secret| secret["name"] == "mail").count());
}

#[test]
fn a_list_of_secrets_that_ends_with_a_piece_ends_well() {
    let world = World::new();
    let admin = world.admin();
    initialize(&admin);
    for count in 1..=66 {
        secret(&admin, "mail", &content(1));
        if count == 1 || count > 62 {
            assert_eq!(admin.list("/vault/secrets").len(), count);
            assert_eq!(secrets_of(&unlock(&admin, "first")).len(), count);
        }
    }
}

/// Each unlocking that nobody reads takes the memory of one piece, and the share of a stream. Its 9 MiB do not fit into the buffers
/// of two sockets.
#[test]
fn a_vault_that_is_unlocked_and_not_read_takes_a_share_of_the_streams() {
    let wire = identityd::settings::WireLayer { max_streams_per_key: Some(2), ..Default::default() };
    let world = World::with_wire(wire);
    let admin = world.admin();
    initialize(&admin);
    crowd(&admin, 220, 65_536);
    let target = format!("/vault/unlock?auth_hash={}", hash("first"));
    let open = || admin.call(Method::GET, &target).open().unwrap();
    let held = [open(), open()];
    assert!(held.iter().all(|answer| answer.status() == 200));
    assert_eq!(open().status(), 429);
}

#[test]
fn the_vault_is_told_as_it_was_at_one_moment() {
    let world = World::new();
    let admin = world.admin();
    let spare = |number: u32| {
        let (id, hash) = (Uuid::from_u128(number.into()), hash(&content(number)));
        json!({"id": id, "wrapped_org_encryption_key": "d3JhcHBlZA==", "auth_hash": hash})
    };
    let keys = json!({"vault_key": spare(100), "recovery_keys": (0..16).map(spare).collect::<Vec<Value>>()});
    admin.post("/vault/initialize", &keys).created();
    let told = |reader: &Caller| {
        let vault = reader.get("/vault/info").ok();
        (vault["key_count"].clone(), vault["updated_at"].clone())
    };
    let (mut made, seen) = (vec![told(&admin)], Mutex::new(vec![]));
    let read = |reader: &Caller| seen.lock().unwrap().push(told(reader));
    read_while(&[&admin, &admin, &admin], read, || {
        for number in 0..16 {
            admin.delete(&format!("/vault/keys/{}", hash(&content(number)))).no_content();
            made.push(told(&admin));
        }
    });
    assert!(seen.into_inner().unwrap().iter().all(|seen| made.contains(seen)));
}
