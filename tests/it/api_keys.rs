//! API keys: issued for one identity, shown once, listed without secrets, and revoked.

use inkbox::api_keys::ApiKeyStatus;
use serde_json::{Value, json};

use crate::harness::{NOBODY, Refusal, World, ids, text};

// Scenario 47.
#[test]
fn a_new_key_works_at_once_as_its_identity() {
    let world = World::new();
    let admin = world.admin();
    let alpha = admin.client().create_identity("alpha").unwrap();
    admin.create("bravo");
    let created =
        admin.client().api_keys().create("laptop", Some("for travelling"), Some(alpha.id())).unwrap();
    let holder = world.holder_of(&created.api_key);
    assert_eq!(holder.handles(), ["alpha"]);
    let record = created.record;
    assert_eq!((record.label.as_str(), record.description.as_deref()), ("laptop", Some("for travelling")));
    assert_eq!(record.scoped_identity_id, Some(alpha.id()));
    assert_eq!(record.organization_id, world.organization_id());
    assert_eq!((record.status, record.creator_type.as_str()), (ApiKeyStatus::Active, "human"));
    assert_eq!((record.revoked_at, record.expires_at), (None, None));
}

#[test]
fn the_record_describes_the_key_without_giving_it_away() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    let minted = admin.mint("laptop", &alpha.id);
    let (key, record) = (text(&minted["api_key"]), &minted["record"]);
    let (id, secret) = key.split_once('.').expect("a key is an id and a secret");
    assert_eq!(record["id"], id);
    assert!(uuid::Uuid::parse_str(id.strip_prefix("ApiKey_").unwrap()).is_ok());
    assert!(secret.ends_with(&text(&record["last4"])) && text(&record["last4"]).len() == 4);
    let prefix = text(&record["display_prefix"]);
    assert!(id.starts_with(&prefix) && prefix.len() < id.len(), "{prefix} shortens {id}");
    assert_eq!(record.get("description"), Some(&Value::Null));
    for stated in ["last_used_at", "expires_at", "revoked_at"] {
        assert_eq!(record.get(stated), Some(&Value::Null), "{stated} is present");
    }
    let everything = format!("{:?}{:?}", admin.list("/api-keys"), alpha.get("/api-keys/self").ok());
    assert!(!everything.contains(secret), "the secret is shown once");
}

// The list has the digest of a secret, never the secret. Neither does any table.
#[test]
fn the_secret_is_not_in_the_log() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let (_, secret) = alpha.key.split_once('.').unwrap();
    let query = format!("select count(*) from events where events::text like '%{secret}%'");
    assert_eq!(world.database().number(&query), 0);
}

// Scenario 47.
#[test]
fn a_key_without_an_identity_is_not_for_an_admin_to_mint() {
    let world = World::new();
    let keys = world.admin();
    world.stores_nothing(|| keys.client().api_keys().create("laptop", None, None).refused(403));
    let null = json!({"label": "laptop", "scoped_identity_id": null});
    world.stores_nothing(|| keys.post("/api-keys", &null).refused(403));
}

// Scenario 47.
#[test]
fn an_agent_has_no_business_with_keys() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let own = Some(uuid::Uuid::parse_str(&alpha.id).unwrap());
    world.stores_nothing(|| alpha.client().api_keys().create("laptop", None, own).refused(403));
    world.stores_nothing(|| alpha.client().api_keys().create("", None, None).refused(403));
    alpha.get("/api-keys").refused(403);
    world.stores_nothing(|| alpha.delete(&format!("/api-keys/{}", alpha.key_id)).refused(403));
}

// Scenario 47.
#[test]
fn labels_and_descriptions_have_their_lengths() {
    let world = World::new();
    let admin = world.admin();
    let id = text(&admin.create("alpha")["id"]);
    let mint = |label: &str, description: &str| {
        admin
            .post("/api-keys", &json!({"label": label, "description": description, "scoped_identity_id": id}))
    };
    world.stores_nothing(|| mint("", "").invalid_at(&["body", "label"]));
    world.stores_nothing(|| mint(&"ü".repeat(256), "").invalid_at(&["body", "label"]));
    world.stores_nothing(|| mint("l", &"ü".repeat(1_001)).invalid_at(&["body", "description"]));
    let longest = mint(&"ü".repeat(255), &"ü".repeat(1_000)).created();
    assert_eq!(text(&longest["record"]["label"]).chars().count(), 255);
    assert_eq!(text(&longest["record"]["description"]).chars().count(), 1_000);
}

#[test]
fn a_key_is_minted_for_the_living_of_this_organization() {
    let world = World::new();
    let admin = world.admin();
    let deleted = text(&admin.create("alpha")["id"]);
    admin.remove("alpha");
    let foreign = text(&world.other_admin().create("foreigner")["id"]);
    for id in [NOBODY, &deleted, &foreign] {
        let mint =
            || admin.client().api_keys().create("laptop", None, Some(uuid::Uuid::parse_str(id).unwrap()));
        world.stores_nothing(|| mint().refused(404));
    }
    let malformed = json!({"label": "laptop", "scoped_identity_id": "nonsense"});
    world.stores_nothing(|| admin.post("/api-keys", &malformed).invalid_at(&["body", "scoped_identity_id"]));
}

// Decision D12.
#[test]
fn an_admin_lists_every_key_newest_first_the_revoked_included() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    let second = text(&admin.mint("second", &alpha.id)["record"]["id"]);
    admin.delete(&format!("/api-keys/{second}")).no_content();
    let listed = admin.list("/api-keys");
    let first_admin_key = world.admin_key().split_once('.').unwrap().0.to_owned();
    assert_eq!(ids(&listed), [second, alpha.key_id.clone(), first_admin_key]);
    let state = |record: &Value| (text(&record["status"]), record["revoked_at"].is_string());
    let states: Vec<_> = listed.iter().map(state).collect();
    let [revoked, active] = [("revoked".to_owned(), true), ("active".to_owned(), false)];
    assert_eq!(states, [revoked, active.clone(), active]);
    assert_eq!(listed[2]["scoped_identity_id"], Value::Null);
}

// Decision D12.
#[test]
fn a_revoked_key_is_refused_at_once() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    let other = world.holder_of(&text(&admin.mint("second", &alpha.id)["api_key"]));
    assert!(alpha.sees("alpha") && other.sees("alpha"));
    admin.delete(&format!("/api-keys/{}", alpha.key_id)).no_content();
    alpha.client().list_identities().refused(401);
    alpha.client().whoami().refused(401);
    world.stores_nothing(|| alpha.change("alpha", &json!({"display_name": "A"})).refused(401));
    assert!(other.sees("alpha"), "another key of the same identity lives on");
}

#[test]
fn what_is_no_key_of_this_organization_cannot_be_revoked() {
    let world = World::new();
    let admin = world.admin();
    let foreign = text(&world.other_admin().list("/api-keys")[0]["id"]);
    for id in [&foreign, &format!("ApiKey_{NOBODY}")] {
        world.stores_nothing(|| admin.delete(&format!("/api-keys/{id}")).refused(404));
    }
    let malformed = world.stores_nothing(|| admin.delete("/api-keys/nonsense"));
    assert!(matches!(malformed.status, 404 | 422), "{malformed}");
    assert_eq!(world.other_admin().list("/api-keys")[0]["status"], "active");
}

// Section 9.
#[test]
fn every_key_can_look_at_itself() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    let own = alpha.get("/api-keys/self").ok();
    assert_eq!((&own["id"], &own["scoped_identity_id"]), (&json!(alpha.key_id), &json!(alpha.id)));
    assert_eq!(own["label"], "alpha");
    let own = admin.get("/api-keys/self").ok();
    assert!(world.admin_key().starts_with(&text(&own["id"])));
    assert_eq!((&own["scoped_identity_id"], &own["status"]), (&Value::Null, &json!("active")));
}

#[test]
fn the_key_follows_its_identity_through_a_rename() {
    let world = World::new();
    let alpha = world.agent("alpha");
    world.admin().change("alpha", &json!({"agent_handle": "alpha-2"})).ok();
    assert_eq!(alpha.handles(), ["alpha-2"]);
}

// The time of the last use is written once a minute, and when the service stops.
#[test]
fn a_key_tells_when_it_was_last_used() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let unused = text(&world.admin().mint("unused", &alpha.id)["record"]["id"]);
    assert!(alpha.sees("alpha"));
    let events = world.events();
    let world = world.restarted();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let listed = admin.list("/api-keys");
    let used = |id: &str| {
        let record = listed.iter().find(|record| record["id"] == id).unwrap();
        (record["last_used_at"].clone(), text(&record["created_at"]))
    };
    assert_eq!(used(&unused).0, Value::Null);
    let (last_used_at, created_at) = used(&alpha.key_id);
    assert!(text(&last_used_at) >= created_at, "{last_used_at} {created_at}");
    assert_eq!(alpha.get("/api-keys/self").ok()["last_used_at"], last_used_at);
    assert_eq!(alpha.get("/api/whoami").ok()["last_used_at"], last_used_at);
    assert_eq!(world.events(), events, "the use of a key is no event");
    let again = world.restarted();
    let later = again.agent("alpha").get("/api-keys/self").ok()["last_used_at"].take();
    assert!(text(&later) > text(&last_used_at), "{later} {last_used_at}");
}
