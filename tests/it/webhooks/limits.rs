//! How many subscriptions there may be.

use std::thread;

use identityd::settings::QuotaLayer;
use serde_json::json;

use super::{PATH, URL, listed, of_identity, path_of, subscribe};
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
fn an_organization_has_a_limit_of_its_own() {
    let world = World::with_quotas(&QuotaLayer { organization_webhooks: Some(3), ..QuotaLayer::default() });
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    for agent in [&alpha, &alpha, &bravo] {
        subscribe(agent, &of_identity(&agent.id));
    }
    for agent in [&alpha, &bravo] {
        world.stores_nothing(|| refused(agent.post(PATH, &of_identity(&agent.id)), "organization"));
    }
    let other = world.other_admin();
    subscribe(&other, &of_identity(&text(&other.create("elsewhere")["id"])));
    world.admin().remove("bravo");
    subscribe(&alpha, &of_identity(&alpha.id));
}
