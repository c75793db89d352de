//! How many subscriptions there may be.

use std::thread;

use identityd::settings::QuotaLayer;
use serde_json::{Value, json};

use super::{PATH, URL, disable, listed, of_identity, path_of, subscribe};
use crate::harness::{Answer, World, text};

#[track_caller]
fn refused(answer: Answer, whose: &str) {
    assert!(answer.headers.contains_key("retry-after"), "{answer}");
    assert!(text(&answer.detail()).contains(whose), "{answer}");
    super::refused(answer, 429, "webhook_limit_reached");
}

// Scenario 54.
#[test]
fn racing_requests_do_not_pass_the_limit_of_an_owner_together() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let created = thread::scope(|scope| {
        let attempts: Vec<_> =
            (0..30).map(|_| scope.spawn(|| alpha.post(PATH, &of_identity(&alpha.id)).status)).collect();
        attempts.into_iter().map(|attempt| attempt.join().unwrap()).filter(|status| *status == 201).count()
    });
    assert_eq!((created, listed(&alpha, "").len()), (20, 20));
    world.stores_nothing(|| refused(alpha.post(PATH, &of_identity(&alpha.id)), "owner"));
    let mailbox = text(&world.admin().identity("alpha")["mailbox"]["id"]);
    subscribe(&alpha, &json!({ "mailbox_id": mailbox, "url": URL, "event_types": ["message.sent"] }));
    let one = alpha.get(PATH).ok()["subscriptions"][1].clone();
    alpha.delete(&path_of(&one)).no_content();
    subscribe(&alpha, &of_identity(&alpha.id));
}

#[test]
fn a_disabled_subscription_does_not_count_until_it_is_active_again() {
    let world = World::with_quotas(&QuotaLayer { owner_webhooks: Some(1), ..QuotaLayer::default() });
    let alpha = world.agent("alpha");
    let first = subscribe(&alpha, &of_identity(&alpha.id));
    disable(&world, &text(&first["id"]));
    let shown = alpha.get(&path_of(&first)).ok();
    assert_eq!((&shown["status"], &shown["disabled_reason"]), (&json!("active"), &json!("operator")));
    let second = subscribe(&alpha, &of_identity(&alpha.id));
    let again = || alpha.patch(&path_of(&first), &json!({ "url": URL }));
    world.stores_nothing(|| refused(again(), "owner"));
    alpha.delete(&path_of(&second)).no_content();
    assert_eq!(again().ok()["disabled_reason"], Value::Null);
    world.stores_nothing(|| again().ok());
}

#[test]
fn an_organization_has_a_limit_of_its_own() {
    let world = World::with_quotas(&QuotaLayer { organization_webhooks: Some(3), ..QuotaLayer::default() });
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    for agent in [&alpha, &alpha, &bravo] {
        subscribe(agent, &of_identity(&agent.id));
    }
    for agent in [&alpha, &bravo] {
        world.stores_nothing(|| refused(agent.post(PATH, &of_identity(&agent.id)), "organization"));
    }
    let charlie = world.agent("charlie");
    world.stores_nothing(|| refused(charlie.post(PATH, &of_identity(&charlie.id)), "organization"));
    assert_eq!(charlie.get("/identities/charlie/signing-key").ok()["configured"], json!(false));
    let other = world.other_admin();
    subscribe(&other, &of_identity(&text(&other.create("elsewhere")["id"])));
    world.admin().remove("bravo");
    subscribe(&alpha, &of_identity(&alpha.id));
}
