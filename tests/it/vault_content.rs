//! The vault with content: its keys, and encrypted secrets. Contract, section 10.5.

use identity_projections::lost_ciphertexts;
use identityd::settings::WireLayer;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::harness::{Answer, Caller, NOBODY, World, text, wait};

/// Content that a client has wrapped or encrypted. The service does not decode it.
const WRAPPED: &str = "d3JhcHBlZA==";
const CONTENT: &str = "Y29udGVudA==";
const OTHER_CONTENT: &str = "b3RoZXI=";

pub(super) fn hash(key: &str) -> String {
    format!("{:x}", Sha256::digest(key))
}

/// A vault key as a client sends it.
fn key(id: u128, name: &str) -> Value {
    json!({"id": Uuid::from_u128(id), "wrapped_org_encryption_key": WRAPPED, "auth_hash": hash(name)})
}

/// A vault with the primary key `first` and the recovery keys `spare` and `last`.
pub(super) fn initialize(admin: &Caller) -> Value {
    let keys = json!({"vault_key": key(1, "first"), "recovery_keys": [key(2, "spare"), key(3, "last")]});
    admin.post("/vault/initialize", &keys).created()
}

pub(super) fn unlock(caller: &Caller, name: &str) -> Value {
    caller.get(&format!("/vault/unlock?auth_hash={}", hash(name))).ok()
}

fn opens(caller: &Caller, name: &str) -> bool {
    unlock(caller, name)["wrapped_org_encryption_key"] == WRAPPED
}

fn replace(admin: &Caller, id: u128, name: &str, shown: &Value) -> Answer {
    let mut body = key(id, name);
    body.as_object_mut().unwrap().extend(shown.as_object().unwrap().clone());
    admin.call(Method::PUT, "/vault/keys/primary").json(&body).send()
}

pub(super) fn secret(admin: &Caller, name: &str, content: &str) -> Value {
    let body = json!({"name": name, "secret_type": "login", "encrypted_payload": content});
    admin.post("/vault/secrets", &body).created()
}

pub(super) fn path(secret: &Value) -> String {
    format!("/vault/secrets/{}", text(&secret["id"]))
}

pub(super) fn allow(admin: &Caller, secret: &Value, identity: &str) {
    admin.post(&format!("{}/access", path(secret)), &json!({"identity_id": identity})).created();
}

pub(super) fn ids_of(secrets: &Value) -> Vec<Value> {
    secrets.as_array().unwrap().iter().map(|secret| secret["id"].clone()).collect()
}

#[test]
fn a_vault_is_initialized_once_and_tells_of_its_keys() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    for path in ["/vault/info", "/vault/keys", &format!("/vault/unlock?auth_hash={}", hash("first"))] {
        admin.get(path).refused(404);
    }
    world.stores_nothing(|| alpha.post("/vault/initialize", &json!({"vault_key": key(1, "x")})).refused(403));
    let made = initialize(&admin);
    assert_eq!(made["vault_key_id"], json!(Uuid::from_u128(1)));
    assert_eq!(made["recovery_key_count"], 2);
    let info = admin.get("/vault/info").ok();
    assert_eq!((&info["id"], &info["organization_id"]), (&made["vault_id"], &json!(world.organization_id())));
    assert_eq!(
        (&info["key_count"], &info["recovery_key_count"], &info["secret_count"]),
        (&json!(3), &json!(2), &json!(0))
    );
    let keys = alpha.get("/vault/keys").ok();
    let types: Vec<&Value> = keys.as_array().unwrap().iter().map(|key| &key["key_type"]).collect();
    assert_eq!(types, ["primary", "recovery", "recovery"]);
    assert!(!keys.to_string().contains(WRAPPED) && !keys.to_string().contains(&hash("first")));
    assert_eq!(admin.get("/vault/keys?type=recovery").ok().as_array().unwrap().len(), 2);
    admin.get("/vault/keys?type=other").invalid_at(&["query", "type"]);
    let again = json!({"vault_key": key(9, "other")});
    let answer = world.stores_nothing(|| admin.post("/vault/initialize", &again));
    assert_eq!(answer.json()["code"], "vault_exists");
    answer.refused(409);
    world.other_admin().get("/vault/info").refused(404);
    assert_ne!(initialize(&world.other_admin())["vault_id"], made["vault_id"]);
}

#[test]
fn a_key_opens_by_its_hash_and_nothing_else_does() {
    let world = World::new();
    let admin = world.admin();
    initialize(&admin);
    for name in ["first", "spare", "last"] {
        assert!(opens(&admin, name), "{name}");
    }
    let nothing = json!({"wrapped_org_encryption_key": null, "encrypted_secrets": []});
    secret(&admin, "mail", CONTENT);
    assert_eq!(unlock(&admin, "wrong"), nothing);
    assert_eq!(unlock(&admin, &hash("first")), nothing, "what is kept opens nothing");
    for wrong in
        ["", "?auth_hash=", "?auth_hash=abc", &format!("?auth_hash={}", hash("first").to_uppercase())]
    {
        admin.get(&format!("/vault/unlock{wrong}")).invalid_at(&["query", "auth_hash"]);
    }
    world.auditor().get(&format!("/vault/unlock?auth_hash={}", hash("first"))).refused(403);
}

#[test]
fn the_primary_key_is_replaced_by_who_knows_it_or_a_recovery_key() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    initialize(&admin);
    let current = |name: &str| json!({"current_auth_hash": hash(name)});
    let recovery = |name: &str| json!({"recovery_auth_hash": hash(name)});
    world.stores_nothing(|| {
        replace(&alpha, 4, "second", &current("first")).refused(403);
        for wrong in [current("wrong"), current("spare"), recovery("first")] {
            replace(&admin, 4, "second", &wrong).refused(404);
        }
        for wrong in
            [json!({}), json!({"current_auth_hash": hash("first"), "recovery_auth_hash": hash("spare")})]
        {
            replace(&admin, 4, "second", &wrong).invalid_at(&["body", "current_auth_hash"]);
        }
        assert_eq!(replace(&admin, 2, "second", &current("first")).json()["code"], "vault_key_exists");
    });
    let replaced = replace(&admin, 4, "second", &current("first")).ok();
    assert_eq!((&replaced["id"], &replaced["key_type"]), (&json!(Uuid::from_u128(4)), &json!("primary")));
    assert!(opens(&admin, "second") && opens(&admin, "spare") && !opens(&admin, "first"));
    assert_eq!(admin.get("/vault/keys").ok()[0], replaced);
    replace(&admin, 5, "third", &recovery("spare")).ok();
    assert!(opens(&admin, "third") && opens(&admin, "last"));
    assert!(!opens(&admin, "second") && !opens(&admin, "spare"), "a recovery key is used up");
    replace(&admin, 6, "fourth", &recovery("spare")).refused(404);
    assert_eq!(admin.get("/vault/info").ok()["key_count"], 2);
}

#[test]
fn every_key_but_the_last_can_be_deleted_by_its_hash() {
    let world = World::new();
    let admin = world.admin();
    initialize(&admin);
    let delete = |name: &str| admin.delete(&format!("/vault/keys/{}", hash(name)));
    world.agent("alpha").delete(&format!("/vault/keys/{}", hash("spare"))).refused(403);
    delete("spare").no_content();
    world.stores_nothing(|| delete("spare").refused(404));
    admin.delete("/vault/keys/nonsense").refused(404);
    delete("first").no_content();
    assert!(!opens(&admin, "first") && !opens(&admin, "spare"));
    let answer = world.stores_nothing(|| delete("last"));
    assert_eq!(answer.json()["code"], "last_vault_key");
    answer.refused(409);
    assert!(opens(&admin, "last"));
}

/// What is deleted as the history says is not lost, whatever came before and after.
#[test]
fn vault_keys_and_contents_are_lost_only_if_somebody_deletes_their_rows() {
    let world = World::new();
    let admin = world.admin();
    initialize(&admin);
    let gone = secret(&admin, "gone", CONTENT);
    let kept = secret(&admin, "kept", CONTENT);
    admin.register_secret("elsewhere");
    admin.patch(&path(&kept), &json!({"encrypted_payload": OTHER_CONTENT})).ok();
    admin.delete(&path(&gone)).no_content();
    replace(&admin, 4, "second", &json!({"recovery_auth_hash": hash("spare")})).ok();
    replace(&admin, 1, "first", &json!({"current_auth_hash": hash("second")})).ok();
    admin.delete(&format!("/vault/keys/{}", hash("last"))).no_content();
    let lost = || wait(lost_ciphertexts::find(world.database().pool(), 0)).unwrap();
    assert_eq!(lost(), []);
    world.database().execute("delete from ciphertexts");
    let names: Vec<String> = lost().into_iter().map(|lost| lost.name).collect();
    assert_eq!(names, [Uuid::from_u128(1).to_string(), "content".to_owned()]);
}

#[test]
fn content_is_kept_as_it_was_sent_and_is_no_part_of_history() {
    let world = World::new();
    let admin = world.admin();
    initialize(&admin);
    let id = Uuid::from_u128(77);
    let body = json!({"id": id, "name": "mail", "encrypted_payload": CONTENT});
    let made = admin.post("/vault/secrets", &body).created();
    assert_eq!((&made["id"], made.get("encrypted_payload")), (&json!(id), None));
    assert_eq!(admin.get(&path(&made)).ok()["encrypted_payload"], CONTENT);
    let reference = admin.register_secret("elsewhere");
    assert_eq!(admin.get(&path(&reference)).ok()["encrypted_payload"], Value::Null);
    let opened = unlock(&admin, "first");
    assert_eq!(ids_of(&opened["encrypted_secrets"]), [json!(id)], "a reference has nothing to open");
    assert_eq!(opened["encrypted_secrets"][0]["encrypted_payload"], CONTENT);
    let changed = admin.patch(&path(&made), &json!({"encrypted_payload": OTHER_CONTENT})).ok();
    assert!(text(&changed["updated_at"]) > text(&made["updated_at"]));
    assert_eq!(admin.list("/vault/secrets")[1], changed);
    assert_eq!(admin.get(&path(&made)).ok()["encrypted_payload"], OTHER_CONTENT);
    let events = admin.get(&format!("/events?aggregate_id={id}")).ok()["events"].clone();
    let told: Vec<&Value> = events.as_array().unwrap().iter().map(|event| &event["payload"]).collect();
    let set = |content: &str| json!({"type": "vault_secret.content_set", "content_sha256": hash(content)});
    assert_eq!((told[1], told[2]), (&set(CONTENT), &set(OTHER_CONTENT)));
    let history = admin.get("/events?limit=1000").ok().to_string();
    for kept in [CONTENT, OTHER_CONTENT, WRAPPED, &hash("first")] {
        assert!(!history.contains(kept), "{kept} is in history");
    }
}

#[test]
fn a_secret_that_is_deleted_is_gone() {
    let world = World::new();
    let admin = world.admin();
    initialize(&admin);
    let [kept, dropped] = ["kept", "dropped"].map(|name| secret(&admin, name, CONTENT));
    let count =
        || world.database().number("select count(*) from ciphertexts where aggregate_type = 'vault_secret'");
    assert_eq!(count(), 2);
    admin.delete(&path(&dropped)).no_content();
    assert_eq!(count(), 1);
    admin.get(&path(&dropped)).refused(404);
    admin.patch(&path(&dropped), &json!({"name": "x"})).refused(404);
    assert_eq!(ids_of(&unlock(&admin, "first")["encrypted_secrets"]), [kept["id"].clone()]);
    let again = json!({"id": dropped["id"], "name": "again", "encrypted_payload": CONTENT});
    world.stores_nothing(|| admin.post("/vault/secrets", &again).refused(409));
    let other = world.other_admin();
    world.stores_nothing(|| other.post("/vault/secrets", &again).refused(409));
    assert_eq!(count(), 1);
}

#[test]
fn an_agent_reads_what_it_may_use() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    initialize(&admin);
    let [first, second] = ["first", "second"].map(|name| secret(&admin, name, CONTENT));
    allow(&admin, &first, &alpha.id);
    allow(&admin, &first, &bravo.id);
    allow(&admin, &second, &bravo.id);
    assert_eq!(ids_of(&alpha.get("/vault/secrets").ok()), [first["id"].clone()]);
    assert_eq!(ids_of(&unlock(&alpha, "first")["encrypted_secrets"]), [first["id"].clone()]);
    assert_eq!(
        ids_of(&unlock(&bravo, "first")["encrypted_secrets"]),
        [second["id"].clone(), first["id"].clone()]
    );
    assert_eq!(alpha.get("/vault/info").ok()["secret_count"], 1);
    let seen = alpha.get(&path(&first)).ok();
    assert_eq!(seen["encrypted_payload"], CONTENT);
    assert_eq!(seen["access"].as_array().unwrap().len(), 1, "its own rule and no other");
    assert_eq!(alpha.list(&format!("{}/access", path(&first))), *seen["access"].as_array().unwrap());
    alpha.get(&path(&second)).refused(404);
    alpha.get(&format!("{}/access", path(&second))).refused(404);
    world.stores_nothing(|| {
        alpha.patch(&path(&first), &json!({"name": "mine"})).refused(403);
        alpha.delete(&path(&first)).refused(403);
    });
    admin.delete(&format!("{}/access/{}", path(&first), alpha.id)).no_content();
    alpha.get(&path(&first)).refused(404);
    assert_eq!(alpha.get("/vault/secrets").ok(), json!([]));
    assert_eq!(ids_of(&unlock(&alpha, "first")["encrypted_secrets"]), Vec::<Value>::new());
}

#[test]
fn a_secret_is_changed_field_by_field() {
    let world = World::new();
    let admin = world.admin();
    let made = admin.post("/vault/secrets", &json!({"name": "mail", "description": "old"})).created();
    let patch = |body: Value| admin.patch(&path(&made), &body);
    let unchanged = world.stores_nothing(|| patch(json!({})).ok());
    assert_eq!(unchanged, made);
    assert_eq!(world.stores_nothing(|| patch(json!({"name": "mail", "description": "old"})).ok()), made);
    let changed = patch(json!({"name": "post", "description": null})).ok();
    assert_eq!((&changed["name"], &changed["description"]), (&json!("post"), &Value::Null));
    assert_eq!(admin.list("/vault/secrets"), [changed]);
    for (body, field) in [
        (json!({"name": null}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"encrypted_payload": "no base64"}), "encrypted_payload"),
        (json!({"encrypted_payload": "A".repeat(65_540)}), "encrypted_payload"),
    ] {
        world.stores_nothing(|| patch(body).invalid_at(&["body", field]));
    }
    admin.patch(&format!("/vault/secrets/{NOBODY}"), &json!({})).refused(404);
    assert_eq!(admin.get("/vault/secrets?secret_type=login").ok(), json!([]));
    assert_eq!(admin.list("/vault/secrets?secret_type=other").len(), 1);
}

#[test]
fn what_is_no_vault_key_is_refused() {
    let world = World::new();
    let admin = world.admin();
    let with = |field: &str, value: Value| {
        let mut changed = key(1, "first");
        changed[field] = value;
        json!({"vault_key": changed})
    };
    for body in [
        json!({}),
        json!({"vault_key": null}),
        with("id", json!("nonsense")),
        with("auth_hash", json!("abc")),
        with("wrapped_org_encryption_key", json!("")),
        with("wrapped_org_encryption_key", json!("A".repeat(1028))),
        with("key_type", json!("recovery")),
    ] {
        world.stores_nothing(|| admin.post("/vault/initialize", &body).invalid_at(&["body", "vault_key"]));
    }
    let twice = json!({"vault_key": key(1, "first"), "recovery_keys": [key(1, "spare")]});
    let many: Vec<Value> = (2..20).map(|id| key(id, "spare")).collect();
    for body in [twice, json!({"vault_key": key(1, "first"), "recovery_keys": many})] {
        world
            .stores_nothing(|| admin.post("/vault/initialize", &body).invalid_at(&["body", "recovery_keys"]));
    }
}

#[test]
fn guesses_are_limited_for_each_api_key() {
    let wire = WireLayer { refused_keys_per_minute: Some(3), ..WireLayer::default() };
    let world = World::with_wire(wire);
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    initialize(&admin);
    for _ in 0..3 {
        assert!(!opens(&alpha, "wrong"));
    }
    let right = format!("/vault/unlock?auth_hash={}", hash("first"));
    let answer = alpha.get(&right).must_be(429);
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(answer.json()["code"], "rate_limited");
    alpha.get("/vault/info").ok();
    assert!(opens(&admin, "first"), "others are not shut out");
}

#[test]
fn the_vault_stays_when_the_service_is_started_again_and_read_models_are_rebuilt() {
    let world = World::new();
    let admin = world.admin();
    initialize(&admin);
    let made = secret(&admin, "mail", CONTENT);
    admin.patch(&path(&made), &json!({"name": "post"})).ok();
    let before = (admin.get("/vault/info").ok(), admin.list("/vault/secrets"), unlock(&admin, "first"));
    let world = world.restarted();
    let admin = world.admin();
    let after = (admin.get("/vault/info").ok(), admin.list("/vault/secrets"), unlock(&admin, "first"));
    assert_eq!(after, before);
}
