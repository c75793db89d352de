//! What clients create, list, change and delete. Contract, section 10.6.

use identity_log::signing_keys::SecretsKey;
use identity_log::{signing_keys, webhook_tokens};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{PATH, URL, disable, listed, not_found, of_identity, path_of, refused, subscribe};
use crate::harness::{World, text, wait};

fn secrets_key(world: &World) -> SecretsKey {
    let file = world.database().signing().data_dir.join("secrets.key");
    SecretsKey::parse(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// The token of a subscription, as whoever delivers to it opens it.
fn token(world: &World, subscription: &Value) -> Option<String> {
    let id: Uuid = text(&subscription["id"]).parse().unwrap();
    let sealed = wait(webhook_tokens::all_sealed(world.database().pool())).unwrap();
    let (_, sealed) = sealed.into_iter().find(|(owner, _)| *owner == id)?;
    let token = webhook_tokens::open(&secrets_key(world), id, &sealed).unwrap();
    Some(token.expose_secret().to_owned())
}

/// How many tokens are kept.
fn kept_tokens(world: &World) -> i64 {
    world.database().number("select count(*) from ciphertexts where name = 'auth_token'")
}

// Scenario 51.
#[test]
fn the_first_subscription_of_an_identity_brings_its_signing_key_once() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let first = subscribe(&alpha, &of_identity(&alpha.id));
    let key = text(&first["signing_key"]);
    assert!(key.starts_with("whsec_"), "{key}");
    let identity: Uuid = alpha.id.parse().unwrap();
    let opened = wait(signing_keys::find(world.database().pool(), &secrets_key(&world), identity)).unwrap();
    assert_eq!(opened.unwrap().text(), key);
    assert_eq!(world.admin().identity("alpha")["signing_key_configured"], json!(true));
    let second = subscribe(&alpha, &of_identity(&alpha.id));
    assert_eq!(second["signing_key"], Value::Null);
    let shown = alpha.get(&path_of(&first)).ok();
    assert_eq!(shown.get("signing_key"), None);
    let events = world.admin().get("/events").ok();
    let kinds: Vec<&Value> =
        events["events"].as_array().unwrap().iter().map(|event| &event["event_type"]).collect();
    let kinds = &kinds[kinds.len() - 3..];
    assert_eq!(
        kinds,
        ["webhook_subscription.created", "identity.signing_key_set", "webhook_subscription.created"]
    );
    assert!(!events.to_string().contains(&key));
}

#[test]
fn a_repeated_request_makes_one_subscription_and_shows_no_key() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let send = || {
        let call = alpha.call(reqwest::Method::POST, PATH).header("Idempotency-Key", "once");
        call.json(&of_identity(&alpha.id)).send().created()
    };
    let [first, again] = [send(), send()];
    assert!(first["signing_key"].is_string() && first.get("message").is_none(), "{first}");
    assert!(again["signing_key"].is_null() && again["message"].is_string(), "{again}");
    assert_eq!(first["id"], again["id"]);
    assert_eq!(listed(&alpha, "").len(), 1);
}

#[test]
fn each_owner_shows_whose_it_is() {
    let world = World::new();
    let admin = world.admin();
    let identity = admin.create("alpha");
    let number = text(&admin.provision("alpha")["id"]);
    let mailbox = text(&identity["mailbox"]["id"]);
    let body = |owner: &str, id: &str, types: Value| json!({ owner: id, "url": URL, "event_types": types });
    let of_mailbox = subscribe(&admin, &body("mailbox_id", &mailbox, json!(["message.received"])));
    let of_number =
        subscribe(&admin, &body("phone_number_id", &number, json!(["text.received", "text.sent"])));
    let mix = json!(["message.sent", "text.sent", "call.ended", "identity.updated", "a2a.task.created"]);
    let of_identity = subscribe(&admin, &body("agent_identity_id", &text(&identity["id"]), mix.clone()));
    let owners = |shown: &Value| {
        ["mailbox_id", "phone_number_id", "agent_identity_id"].map(|name| shown[name].clone())
    };
    assert_eq!(owners(&of_mailbox), [json!(mailbox), Value::Null, Value::Null]);
    assert_eq!(owners(&of_number), [Value::Null, json!(number), Value::Null]);
    assert_eq!(owners(&of_identity), [Value::Null, Value::Null, identity["id"].clone()]);
    assert_eq!(of_identity["event_types"], mix);
    for shown in [&of_mailbox, &of_number, &of_identity] {
        assert_eq!(shown["owner_identity_id"], identity["id"]);
        assert_eq!((&shown["status"], &shown["disabled_reason"]), (&json!("active"), &Value::Null));
        assert_eq!(shown["created_at"], shown["updated_at"]);
        let mut expected = shown.clone();
        expected.as_object_mut().unwrap().remove("signing_key");
        assert_eq!(admin.get(&path_of(shown)).ok(), expected);
    }
    let query = |query: &str| listed(&admin, query);
    let [mail, phone, own] = [&of_mailbox, &of_number, &of_identity].map(|shown| text(&shown["id"]));
    let all = [own.as_str(), &phone, &mail];
    assert_eq!(query(""), all);
    assert_eq!(query(&format!("?mailbox_id={mailbox}")), all[2..]);
    assert_eq!(query(&format!("?phone_number_id={number}")), all[1..2]);
    let id = text(&identity["id"]);
    assert_eq!(query(&format!("?agent_identity_id={id}")), all[..1]);
    assert_eq!(query(&format!("?agent_identity_id={id}&scope=identity")), all);
    assert_eq!(query("?event_type=text.sent"), all[..2]);
    assert_eq!(query("?event_type=text"), Vec::<String>::new());
    assert_eq!(query(&format!("?url={URL}/")), Vec::<String>::new());
    assert_eq!(query(&format!("?url={URL}")).len(), 3);
    admin
        .get(&format!("{PATH}?mailbox_id={mailbox}&phone_number_id={number}"))
        .invalid_at(&["query", "phone_number_id"]);
    admin.get(&format!("{PATH}?mailbox={mailbox}")).invalid_at(&["query", "mailbox"]);
    admin.get(&format!("{PATH}?scope=all")).invalid_at(&["query", "scope"]);
}

#[test]
fn what_is_absent_stays_and_null_clears() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let mut body = of_identity(&alpha.id);
    body["context_config"] = json!({ "email": { "mode": "count", "count": 50 }, "calls": null });
    body["auth_token"] = json!("letmein");
    let created = subscribe(&alpha, &body);
    let whole = json!({ "email": { "mode": "count", "count": 50 }, "texts": null, "calls": null });
    assert_eq!((&created["context_config"], &created["has_auth_token"]), (&whole, &json!(true)));
    assert_eq!(created.get("auth_token"), None);
    assert_eq!(token(&world, &created).as_deref(), Some("letmein"));
    let path = path_of(&created);
    let changed = alpha.patch(&path, &json!({ "url": "https://harbor.example/other" })).ok();
    assert_eq!((&changed["context_config"], &changed["has_auth_token"]), (&whole, &json!(true)));
    assert_eq!(changed["url"], "https://harbor.example/other");
    assert_ne!(changed["updated_at"], created["updated_at"]);
    assert_eq!(world.stores_nothing(|| alpha.patch(&path, &json!({})).ok()), changed);
    let other =
        alpha.patch(&path, &json!({ "auth_token": "other", "event_types": ["identity.deleted"] })).ok();
    assert_eq!(other["event_types"], json!(["identity.deleted"]));
    assert_eq!(token(&world, &created).as_deref(), Some("other"));
    let cleared = alpha.patch(&path, &json!({ "context_config": null, "auth_token": null })).ok();
    assert_eq!((&cleared["context_config"], &cleared["has_auth_token"]), (&Value::Null, &json!(false)));
    assert_eq!((token(&world, &created), kept_tokens(&world)), (None, 0));
    let events = world.admin().get("/events").ok();
    let of_subscriptions =
        events["events"].as_array().unwrap().iter().map(|event| text(&event["event_type"]));
    let of_subscriptions: Vec<String> =
        of_subscriptions.filter(|name| name.starts_with("webhook_subscription")).collect();
    let changed = ["webhook_subscription.changed"; 3].map(str::to_owned);
    assert_eq!(
        (&*of_subscriptions[0], &of_subscriptions[1..]),
        ("webhook_subscription.created", &changed[..])
    );
    let history = events.to_string();
    assert!(!history.contains("letmein") && !history.contains("\"other\""));
}

#[test]
fn a_deleted_subscription_is_gone_with_its_token() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let mut body = of_identity(&alpha.id);
    body["auth_token"] = json!("letmein");
    let path = path_of(&subscribe(&alpha, &body));
    alpha.delete(&path).no_content();
    assert_eq!(kept_tokens(&world), 0);
    not_found(alpha.get(&path));
    not_found(alpha.patch(&path, &json!({})));
    world.stores_nothing(|| not_found(alpha.delete(&path)));
    assert_eq!(listed(&alpha, ""), Vec::<String>::new());
}

// Scenario 52.
#[test]
fn an_agent_has_to_do_with_its_own_alone_and_an_auditor_reads() {
    let world = World::new();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    world.admin().grant("alpha", &bravo.id).created();
    let number = text(&world.admin().provision("alpha")["id"]);
    let mailbox = text(&world.admin().identity("alpha")["mailbox"]["id"]);
    let path = path_of(&subscribe(&alpha, &of_identity(&alpha.id)));
    for stranger in [&*bravo, &world.other_admin()] {
        world.stores_nothing(|| {
            refused(stranger.post(PATH, &of_identity(&alpha.id)), 404, "identity_not_found");
            let body = json!({ "mailbox_id": mailbox, "url": URL, "event_types": ["message.sent"] });
            refused(stranger.post(PATH, &body), 404, "mailbox_not_found");
            let body = json!({ "phone_number_id": number, "url": URL, "event_types": ["text.sent"] });
            refused(stranger.post(PATH, &body), 404, "phone_number_not_found");
            not_found(stranger.get(&path));
            not_found(stranger.patch(&path, &json!({ "url": URL })));
            not_found(stranger.delete(&path));
        });
        assert_eq!(listed(stranger, ""), Vec::<String>::new());
    }
    let auditor = world.auditor();
    assert_eq!(listed(&auditor, "").len(), 1);
    auditor.get(&path).ok();
    auditor.post(PATH, &of_identity(&alpha.id)).refused(403);
    auditor.patch(&path, &json!({})).refused(403);
    auditor.delete(&path).refused(403);
    assert_eq!(listed(&world.admin(), "").len(), 1);
}

#[test]
fn types_that_are_not_sent_yet_are_kept_with_a_notice() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let mut body = of_identity(&alpha.id);
    body["event_types"] = json!(["message.received", "identity.updated"]);
    let answer = alpha.post(PATH, &body).must_be(201);
    let notices: Value = serde_json::from_str(&answer.headers["inkbox-notices"]).unwrap();
    assert_eq!(notices[0]["code"], "event_types_not_sent");
    let message = text(&notices[0]["message"]);
    assert!(message.contains("message.received") && !message.contains("identity.updated"), "{message}");
    let answer = alpha.post(PATH, &of_identity(&alpha.id)).must_be(201);
    assert!(!answer.headers.contains_key("inkbox-notices"));
}

#[test]
fn the_catalog_says_what_can_be_sent() {
    let world = World::new();
    let catalog = world.agent("alpha").get("/webhooks/catalog").ok();
    assert_eq!(catalog["supports_identity_subscriptions"], json!(true));
    let types = catalog["event_types"].as_array().unwrap();
    let named = |name: &str| types.iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(named("identity.updated")["is_sent"], json!(true));
    assert_eq!(named("message.received")["is_sent"], json!(false));
    assert_eq!(named("message.received")["owners"], json!(["mailbox", "identity"]));
    assert_eq!(named("identity.created")["owners"], json!([]));
    assert_eq!(world.auditor().get("/webhooks/catalog").ok(), catalog);
}

#[test]
fn published_clients_of_rust_read_what_each_other_wrote() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let id: Uuid = alpha.id.parse().unwrap();
    let old = alpha.client().webhooks();
    let types = ["call.ended".to_owned()];
    let created = old.subscriptions().create(URL, &types, None, None, Some(id), None).unwrap();
    assert!(created.signing_key.is_some());
    let next = alpha.next().webhooks();
    let mix = ["message.received", "slack.interaction"].map(str::to_owned);
    let mixed = next.subscriptions().create_for_identity(id, URL, &mix, None, Some("letmein")).unwrap();
    assert!(mixed.signing_key.is_none() && mixed.subscription.has_auth_token);
    disable(&world, &mixed.subscription.id.to_string());
    let listed = old.subscriptions().list(None, None, Some(id), None, None).unwrap();
    let ids: Vec<Uuid> = listed.iter().map(|shown| shown.id).collect();
    assert_eq!(ids, [mixed.subscription.id, created.subscription.id]);
    assert_eq!(next.subscriptions().list(None, None, None, None, None).unwrap().len(), 2);
    old.subscriptions().delete(created.subscription.id).unwrap();
    assert!(next.subscriptions().get(created.subscription.id).is_err());
}

#[test]
fn subscriptions_stay_when_the_service_is_started_again() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let mut created = subscribe(&alpha, &of_identity(&alpha.id));
    let key = alpha.key.clone();
    created.as_object_mut().unwrap().remove("signing_key");
    let world = world.restarted();
    let alpha = world.holder_of(&key);
    assert_eq!(alpha.get(&path_of(&created)).ok(), created);
    assert_eq!(
        subscribe(&alpha, &of_identity(&text(&created["agent_identity_id"])))["signing_key"],
        Value::Null
    );
}
