//! The keys with which the webhooks of identities are signed. Contract, section 10.2.

use identity_log::signing_keys::{self, SecretsKey};
use inkbox::identities::AgentIdentityData;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::harness::{Caller, World, text, wait};

const PATH: &str = "/identities/alpha/signing-key";

fn create(caller: &Caller) -> Value {
    caller.post(PATH, &json!({})).created()
}

/// How many signing keys are sealed in the database.
fn sealed(world: &World) -> i64 {
    world.database().number("select count(*) from ciphertexts where name = 'signing_key'")
}

/// The signing key of an identity, opened with the secrets key.
fn opened(world: &World, identity: &str) -> Option<String> {
    let file = world.database().signing().data_dir.join("secrets.key");
    let secrets = SecretsKey::parse(&std::fs::read_to_string(file).unwrap()).unwrap();
    let found = signing_keys::find(world.database().pool(), &secrets, identity.parse::<Uuid>().unwrap());
    wait(found).unwrap().map(|key| key.text().to_owned())
}

// Scenario 48.
#[test]
fn a_key_is_shown_once_and_the_identity_says_since_when_it_is_there() {
    let world = World::new();
    let admin = world.admin();
    let id = text(&admin.create("alpha")["id"]);
    assert_eq!(admin.get(PATH).ok(), json!({"configured": false, "created_at": null}));
    let created = create(&admin);
    let key = text(&created["signing_key"]);
    let random = key.strip_prefix("whsec_").unwrap();
    assert_eq!(random.len(), 44, "32 bytes in base64: {random}");
    assert_eq!(created.as_object().unwrap().len(), 2, "{created}");
    let status = json!({"configured": true, "created_at": created["created_at"]});
    assert_eq!(admin.get(PATH).ok(), status);
    assert_eq!(admin.get("/identities/@ALPHA/signing-key").ok(), status);
    let identity = admin.identity("alpha");
    assert_eq!(identity["signing_key_configured"], json!(true));
    assert_eq!(identity["signing_key_created_at"], created["created_at"]);
    assert_eq!(identity["updated_at"], created["created_at"]);
    assert_eq!(admin.identities()[0], identity);
    assert_eq!(opened(&world, &id), Some(key));
}

#[test]
fn the_published_client_reads_it() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let key = admin.client().signing_keys().create_or_rotate("alpha").unwrap();
    assert!(key.signing_key.starts_with("whsec_"));
    let status = admin.client().signing_keys().get_status("alpha").unwrap();
    assert_eq!((status.configured, status.created_at), (true, Some(key.created_at)));
    let shown: AgentIdentityData = admin.client().identities().get("alpha").unwrap();
    assert!(shown.signing_key_configured);
}

#[test]
fn history_has_a_digest_of_every_key_and_shows_the_identity_as_of_each() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let keys = [create(&admin), create(&admin)].map(|created| text(&created["signing_key"]));
    assert_ne!(keys[0], keys[1]);
    let events = admin.get("/identities/alpha/events").ok();
    let events = events["events"].as_array().unwrap();
    let digests: Vec<Value> = events.iter().skip(1).map(|event| event["payload"].clone()).collect();
    let digest = |key: &String| json!({"type": "identity.signing_key_set", "secret_sha256": format!("{:x}", Sha256::digest(key))});
    assert_eq!(digests, [digest(&keys[0]), digest(&keys[1])]);
    for (sequence, since) in
        [(1, &Value::Null), (2, &events[1]["recorded_at"]), (3, &events[2]["recorded_at"])]
    {
        let past = admin.get(&format!("/identities/alpha?as_of=sequence:{sequence}")).ok();
        assert_eq!(past["signing_key_created_at"], *since);
        assert_eq!(past["signing_key_configured"], json!(!since.is_null()));
    }
}

#[test]
fn the_newest_key_replaces_the_one_before_and_an_end_deletes_it() {
    let world = World::new();
    let admin = world.admin();
    let id = text(&admin.create("alpha")["id"]);
    create(&admin);
    let newest = text(&create(&admin)["signing_key"]);
    assert_eq!((sealed(&world), opened(&world, &id)), (1, Some(newest)));
    admin.remove("alpha");
    assert_eq!((sealed(&world), opened(&world, &id)), (0, None));
    admin.get(PATH).refused(404);
    world.stores_nothing(|| admin.post(PATH, &json!({})).refused(404));
}

#[test]
fn a_key_stays_when_the_service_is_started_again() {
    let world = World::new();
    let id = text(&world.admin().create("alpha")["id"]);
    let key = text(&create(&world.admin())["signing_key"]);
    let world = world.restarted();
    assert_eq!(opened(&world, &id), Some(key));
}

#[test]
fn an_agent_creates_its_own_and_nobody_elses() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, bravo, carol] = world.agents(["alpha", "bravo", "carol"]);
    admin.grant("alpha", &bravo.id).created();
    create(&alpha);
    assert_eq!(alpha.get(PATH).ok()["configured"], json!(true));
    for (caller, status) in [(&bravo, 403), (&carol, 404)] {
        caller.get(PATH).refused(status);
        world.stores_nothing(|| caller.post(PATH, &json!({})).refused(status));
    }
    world.auditor().get(PATH).refused(403);
    world.other_admin().get(PATH).refused(404);
    world.stores_nothing(|| world.other_admin().post(PATH, &json!({})).refused(404));
}

#[test]
fn older_clients_leave_the_identity_to_their_key() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _] = world.agents(["alpha", "bravo"]);
    let none = json!({"configured": false, "created_at": null});
    assert_eq!((alpha.get("/signing-keys").ok(), admin.get("/signing-keys").ok()), (none.clone(), none));
    let refusal = world.stores_nothing(|| admin.post("/signing-keys", &json!({})).refused(409));
    assert!(refusal.contains("/api/v1/identities/{agent_handle}/signing-key"), "{refusal}");
    let created = alpha.post("/signing-keys", &json!({})).created();
    assert_eq!(opened(&world, &alpha.id), Some(text(&created["signing_key"])));
    let status = json!({"configured": true, "created_at": created["created_at"]});
    assert_eq!(alpha.get("/signing-keys").ok(), status);
    assert_eq!(alpha.get(PATH).ok(), status);
    assert_eq!(admin.get("/signing-keys").ok(), status, "any identity of the organization");
    assert_eq!(world.agent("bravo").get("/signing-keys").ok()["configured"], json!(false));
    assert_eq!(world.other_admin().get("/signing-keys").ok()["configured"], json!(false));
}

// Decision D30.
#[test]
fn a_repetition_gets_everything_but_the_key() {
    let world = World::new();
    let admin = world.admin();
    let id = text(&admin.create("alpha")["id"]);
    let send = || {
        let call = admin.call(Method::POST, PATH).header("Idempotency-Key", "once");
        call.json(&json!({})).send().created()
    };
    let first = send();
    let again = world.stores_nothing(send);
    assert_eq!((&again["signing_key"], &again["created_at"]), (&Value::Null, &first["created_at"]));
    assert!(again["message"].is_string());
    assert_eq!(opened(&world, &id), Some(text(&first["signing_key"])));
}

#[test]
fn a_key_is_created_for_the_version_that_a_client_has_seen() {
    let world = World::new();
    let admin = world.admin();
    let tag = {
        admin.create("alpha");
        admin.get("/identities/alpha").headers["etag"].clone()
    };
    let send = |tag: &str| admin.call(Method::POST, PATH).header("If-Match", tag).send();
    assert_eq!(send(&tag).status, 201);
    world.stores_nothing(|| assert_eq!(send(&tag).status, 412));
    let status = admin.get(PATH);
    let known = admin.call(Method::GET, PATH).header("If-None-Match", &status.headers["etag"]).send();
    assert_eq!(known.status, 304);
}
