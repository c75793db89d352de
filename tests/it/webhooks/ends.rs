//! A subscription ends with its identity and with the phone number that owns it, in the same transaction.

use serde_json::{Value, json};

use super::{PATH, URL, listed, not_found, of_identity, path_of, refused, subscribe};
use crate::harness::{World, text};

/// The reasons with which subscriptions were deleted, by subscription, in order.
fn ends(world: &World) -> Vec<(Value, Value)> {
    let events = world.admin().get("/events").ok();
    let events = events["events"].as_array().unwrap().iter();
    let ends = events.filter(|event| event["event_type"] == "webhook_subscription.deleted");
    ends.map(|event| (event["aggregate_id"].clone(), event["payload"]["reason"].clone())).collect()
}

/// How many rows are left of subscriptions.
fn traces(world: &World) -> i64 {
    world.database().number(
        "select (select count(*) from read_model.webhook_subscriptions) + (select count(*) from webhook_owners)
              + (select count(*) from ciphertexts where name = 'auth_token')",
    )
}

#[test]
fn a_released_number_ends_its_subscriptions_and_no_others() {
    let world = World::new();
    let admin = world.admin();
    let id = text(&admin.create("alpha")["id"]);
    let number = text(&admin.provision("alpha")["id"]);
    let body =
        json!({ "phone_number_id": number, "url": URL, "event_types": ["text.sent"], "auth_token": "x" });
    let [of_number, of_identity] = [&body, &of_identity(&id)].map(|body| subscribe(&admin, body));
    admin.delete("/identities/alpha/phone_number").no_content();
    not_found(admin.get(&path_of(&of_number)));
    assert_eq!(listed(&admin, ""), [text(&of_identity["id"])]);
    assert_eq!(ends(&world), [(of_number["id"].clone(), json!("phone_number_released"))]);
    assert_eq!(traces(&world), 2);
    world.stores_nothing(|| refused(admin.post(PATH, &body), 404, "phone_number_not_found"));
}

// Scenario 55.
#[test]
fn a_deleted_identity_ends_all_its_subscriptions() {
    let world = World::new();
    let admin = world.admin();
    let identity = admin.create("alpha");
    let number = text(&admin.provision("alpha")["id"]);
    let bravo = subscribe(&admin, &of_identity(&text(&admin.create("bravo")["id"])));
    let body = |owner: &str, id: &str, event_type: &str| json!({ owner: id, "url": URL, "event_types": [event_type], "auth_token": "x" });
    let of_number = subscribe(&admin, &body("phone_number_id", &number, "text.sent"));
    let of_mailbox =
        subscribe(&admin, &body("mailbox_id", &text(&identity["mailbox"]["id"]), "message.sent"));
    let own = subscribe(&admin, &body("agent_identity_id", &text(&identity["id"]), "identity.updated"));
    admin.remove("alpha");
    assert_eq!(listed(&admin, ""), [text(&bravo["id"])]);
    let mut ends = ends(&world);
    assert_eq!(ends.remove(0), (of_number["id"].clone(), json!("phone_number_released")));
    let gone = |shown: &Value| (shown["id"].clone(), json!("identity_deleted"));
    assert_eq!(ends, [gone(&of_mailbox), gone(&own)]);
    assert_eq!(traces(&world), 2);
    let history = admin.get("/events").ok();
    let last = history["events"].as_array().unwrap().last().unwrap();
    assert_eq!(last["metadata"]["actor_kind"], "admin_key");
}

// The service keeps what it knows of an identity from batch to batch: it must know of a subscription that another process made.
#[test]
fn a_subscription_that_another_process_made_ends_too() {
    let world = World::new();
    let alpha = world.agent("alpha");
    subscribe(&alpha, &of_identity(&alpha.id));
    let beside = world.beside();
    subscribe(&beside.holder_of(&alpha.key), &of_identity(&alpha.id));
    world.admin().remove("alpha");
    assert_eq!((ends(&world).len(), traces(&world)), (2, 0));
}

#[test]
fn whatever_the_order_no_subscription_outlives_its_identity() {
    let world = World::new();
    let handles: Vec<String> = (0..8).map(|number| format!("agent-{number}")).collect();
    let ids: Vec<String> = handles.iter().map(|handle| text(&world.admin().create(handle)["id"])).collect();
    std::thread::scope(|scope| {
        for (handle, id) in handles.iter().zip(&ids) {
            let admin = world.admin();
            scope.spawn(move || {
                for _ in 0..3 {
                    let answer = admin.post(PATH, &of_identity(id));
                    assert!([201, 404].contains(&answer.status), "{answer}");
                }
            });
            let admin = world.admin();
            scope.spawn(move || admin.remove(handle));
        }
    });
    assert_eq!(traces(&world), 0);
    assert_eq!(listed(&world.admin(), ""), Vec::<String>::new());
}
