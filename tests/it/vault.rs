//! Vault secrets: their names, and which identities may use them.

use inkbox::identities::VaultSecretIds;
use serde_json::{Value, json};

use crate::harness::{Caller, NOBODY, Refusal, Wish, World, ids, text};

fn access(secret: &Value) -> String {
    format!("/vault/secrets/{}/access", text(&secret["id"]))
}

fn allow(caller: &Caller, secret: &Value, identity_id: &str) -> crate::harness::Answer {
    caller.post(&access(secret), &json!({"identity_id": identity_id}))
}

/// The identities that may use a secret, from its list of rules. The rules in the secret must be the same.
fn users(caller: &Caller, secret: &Value) -> Vec<String> {
    let rules = caller.list(&access(secret));
    let secrets = caller.list("/vault/secrets");
    let listed = secrets.iter().find(|listed| listed["id"] == secret["id"]).expect("the secret is listed");
    assert_eq!(listed["access"], json!(rules));
    rules.iter().map(|rule| text(&rule["identity_id"])).collect()
}

#[test]
fn a_registered_secret_is_listed_newest_first() {
    let world = World::new();
    let admin = world.admin();
    let first = admin.register_secret("first");
    assert_eq!((&first["name"], &first["secret_type"]), (&json!("first"), &json!("other")));
    assert_eq!((&first["description"], &first["access"]), (&Value::Null, &json!([])));
    let wish = json!({"name": "second", "secret_type": "api_key", "description": "for payments"});
    let second = admin.post("/vault/secrets", &wish).created();
    assert_eq!((&second["secret_type"], &second["description"]), (&json!("api_key"), &json!("for payments")));
    assert_eq!(admin.list("/vault/secrets"), [second, first]);
}

// Histories, and the receivers of webhooks, tell aggregates apart by their ids.
#[test]
fn a_secret_gets_no_id_that_something_else_has_or_had() {
    let world = World::new();
    let admin = world.admin();
    let [living, dead] = ["alpha", "bravo"].map(|handle| text(&admin.create(handle)["id"]));
    admin.remove("bravo");
    let key = text(&admin.list("/api-keys")[0]["id"]);
    for id in [living, dead, key] {
        let wish = json!({"id": id, "name": "taken"});
        world.stores_nothing(|| admin.post("/vault/secrets", &wish).invalid_at(&["body", "id"]));
    }
    let wish = json!({"id": NOBODY, "name": "free"});
    assert_eq!(admin.post("/vault/secrets", &wish).created()["id"], NOBODY);
}

#[test]
fn secrets_have_names_and_known_types() {
    let world = World::new();
    let admin = world.admin();
    let refused = |body: Value, field: &str| {
        world.stores_nothing(|| admin.post("/vault/secrets", &body).invalid_at(&["body", field]));
    };
    refused(json!({}), "name");
    refused(json!({"name": ""}), "name");
    refused(json!({"name": "ü".repeat(256)}), "name");
    refused(json!({"name": "x", "secret_type": "riddle"}), "secret_type");
    for known in ["api_key", "key_pair", "login", "ssh_key", "other"] {
        let secret =
            admin.post("/vault/secrets", &json!({"name": "ü".repeat(255), "secret_type": known})).created();
        assert_eq!(secret["secret_type"], known);
    }
}

#[test]
fn a_rule_allows_one_identity_one_secret() {
    let world = World::new();
    let admin = world.admin();
    let id = text(&admin.create("alpha")["id"]);
    let secret = admin.register_secret("first");
    let rule = allow(&admin, &secret, &id).created();
    assert_eq!((&rule["vault_secret_id"], &rule["identity_id"]), (&secret["id"], &json!(id)));
    assert!(uuid::Uuid::parse_str(&text(&rule["id"])).is_ok() && rule["created_at"].is_string());
    assert_eq!(admin.list(&access(&secret)), [rule]);
    assert_eq!(users(&admin, &secret), [id]);
}

#[test]
fn a_second_rule_for_the_same_is_a_conflict() {
    let world = World::new();
    let admin = world.admin();
    let id = text(&admin.create("alpha")["id"]);
    let secret = admin.register_secret("first");
    allow(&admin, &secret, &id).created();
    world.stores_nothing(|| allow(&admin, &secret, &id).refused(409));
    admin.delete(&format!("{}/{id}", access(&secret))).no_content();
    assert!(users(&admin, &secret).is_empty());
    world.stores_nothing(|| admin.delete(&format!("{}/{id}", access(&secret))).refused(404));
    allow(&admin, &secret, &id).created();
}

#[test]
fn a_rule_needs_a_secret_and_an_identity_of_this_organization() {
    let world = World::new();
    let (admin, other) = (world.admin(), world.other_admin());
    let id = text(&admin.create("alpha")["id"]);
    let secret = admin.register_secret("first");
    let foreign_id = text(&other.create("foreigner")["id"]);
    let foreign_secret = other.register_secret("foreign");
    for identity_id in [NOBODY, &foreign_id] {
        world.stores_nothing(|| allow(&admin, &secret, identity_id).refused(404));
    }
    world.stores_nothing(|| allow(&admin, &secret, "nonsense").invalid_at(&["body", "identity_id"]));
    for secret in [&foreign_secret, &json!({"id": NOBODY})] {
        world.stores_nothing(|| allow(&admin, secret, &id).refused(404));
        admin.get(&access(secret)).refused(404);
        admin.delete(&format!("{}/{id}", access(secret))).refused(404);
        admin.delete(&format!("/vault/secrets/{}", text(&secret["id"]))).refused(404);
    }
    assert_eq!(ids(&other.list("/vault/secrets")), [text(&foreign_secret["id"])]);
}

#[test]
fn a_deleted_secret_is_gone_with_its_rules() {
    let world = World::new();
    let admin = world.admin();
    let id = text(&admin.create("alpha")["id"]);
    let secret = admin.register_secret("first");
    allow(&admin, &secret, &id).created();
    let path = format!("/vault/secrets/{}", text(&secret["id"]));
    admin.delete(&path).no_content();
    assert!(admin.list("/vault/secrets").is_empty());
    admin.delete(&path).refused(404);
    admin.get(&access(&secret)).refused(404);
    let secrets = Some(VaultSecretIds::One(text(&secret["id"])));
    Wish { vault_secret_ids: secrets, ..Wish::default() }.create(admin.client(), "bravo").refused(404);
}

#[test]
fn a_deleted_identity_leaves_no_rule_behind() {
    let world = World::new();
    let admin = world.admin();
    let id = text(&admin.create("alpha")["id"]);
    let secret = admin.register_secret("first");
    allow(&admin, &secret, &id).created();
    admin.remove("alpha");
    assert!(users(&admin, &secret).is_empty());
    world.stores_nothing(|| allow(&admin, &secret, &id).refused(404));
}

// Section 2.3.
#[test]
fn an_identity_is_born_with_the_secrets_it_asks_for() {
    let world = World::new();
    let admin = world.admin();
    let secrets = ["first", "second", "third"].map(|name| admin.register_secret(name));
    let [first, second, _] = secrets.each_ref().map(|secret| text(&secret["id"]));
    let born = |handle: &str, vault_secret_ids| {
        let wish = Wish { vault_secret_ids: Some(vault_secret_ids), ..Wish::default() };
        wish.create(admin.client(), handle).unwrap().id.to_string()
    };
    let one = born("one", VaultSecretIds::One(first.clone()));
    let two = born("two", VaultSecretIds::Many(vec![first, second]));
    let all = born("all", VaultSecretIds::Wildcard("all".to_owned()));
    let star = born("star", VaultSecretIds::Wildcard("*".to_owned()));
    born("none", VaultSecretIds::Many(Vec::new()));
    let sorted = |mut users: Vec<String>| {
        users.sort();
        users
    };
    let expected = [vec![&one, &two, &all, &star], vec![&two, &all, &star], vec![&all, &star]];
    for (secret, expected) in secrets.iter().zip(expected) {
        assert_eq!(sorted(users(&admin, secret)), sorted(expected.into_iter().cloned().collect()));
    }
}

#[test]
fn all_secrets_of_an_empty_vault_are_none() {
    let world = World::new();
    world.other_admin().register_secret("foreign");
    world.admin().try_create("alpha", json!({"vault_secret_ids": "*"})).created();
    assert_eq!(world.other_admin().list("/vault/secrets")[0]["access"], json!([]));
}

// Decision D23.
#[test]
fn one_wrong_secret_stops_the_whole_birth() {
    let world = World::new();
    let admin = world.admin();
    let good = admin.register_secret("first");
    let foreign = text(&world.other_admin().register_secret("foreign")["id"]);
    for wrong in [NOBODY, &foreign] {
        let further = json!({"vault_secret_ids": [good["id"], wrong]});
        world.stores_nothing(|| admin.try_create("alpha", further).refused(404));
    }
    let malformed = json!({"vault_secret_ids": [good["id"], "nonsense"]});
    world.stores_nothing(|| admin.try_create("alpha", malformed).invalid_at(&["body", "vault_secret_ids"]));
    assert!(users(&admin, &good).is_empty());
    admin.create("alpha");
}

#[test]
fn only_admins_write_to_the_vault() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let secret = world.admin().register_secret("first");
    let path = format!("/vault/secrets/{}", text(&secret["id"]));
    assert_eq!(alpha.get("/vault/secrets").ok(), json!([]), "it may use none");
    alpha.get(&path).refused(404);
    alpha.get(&access(&secret)).refused(404);
    world.stores_nothing(|| alpha.post("/vault/secrets", &json!({"name": "mine"})).refused(403));
    world.stores_nothing(|| allow(&alpha, &secret, &alpha.id).refused(403));
    world.stores_nothing(|| alpha.delete(&format!("{}/{}", access(&secret), alpha.id)).refused(403));
    world.stores_nothing(|| alpha.patch(&path, &json!({"name": "mine"})).refused(403));
    world.stores_nothing(|| alpha.delete(&path).refused(403));
    for path in ["/vault/secrets", &path, &access(&secret)] {
        world.auditor().get(path).refused(403);
    }
}

#[test]
fn secrets_are_named_by_uuids() {
    let world = World::new();
    let admin = world.admin();
    let secret = admin.register_secret("first");
    admin.delete("/vault/secrets/nonsense").invalid_at(&["path"]);
    admin.get("/vault/secrets/nonsense/access").invalid_at(&["path"]);
    admin.delete(&format!("{}/nonsense", access(&secret))).invalid_at(&["path"]);
}
