//! What is slow, or waits, takes nothing from others.

use std::time::Duration;

use identity_webhooks::{Amount, Settings, WaitingLimits};
use serde_json::json;

use super::deliveries::{fanned_out, listen, settings};
use super::path_of;
use super::receiver::{Reaction, Receiver};
use crate::harness::{World, eventually, text};

/// How many deliveries of one organization may be on their way.
const SHARE: usize = 256;

#[test]
fn an_organization_whose_endpoints_hang_fills_its_share_and_no_more() {
    let world = World::with_webhooks(Settings { timeout: Duration::from_mins(10), ..settings() });
    let (hanging, good) = (Receiver::reacting(|_, _| Reaction::Silence), Receiver::new());
    let (admin, agents) = (world.admin(), world.agents(["alpha", "bravo"]));
    for agent in &agents {
        for _ in 0..20 {
            listen(&admin, &agent.id, &hanging, &["identity.updated"]);
        }
    }
    for number in 0..8 {
        for handle in ["alpha", "bravo"] {
            admin.change(handle, &json!({ "description": number.to_string() })).ok();
        }
    }
    hanging.wait_for(SHARE);
    let other = world.other_admin();
    listen(&other, &text(&other.create("elsewhere")["id"]), &good, &["identity.updated"]);
    good.wait_for(1);
    let waiting = "select count(*) from webhook_queue where lease_until is null and due_at <= now()";
    eventually("the rest waits", || world.database().number(waiting) >= 64);
    assert_eq!(hanging.received().len(), SHARE);
}

/// Two subscriptions, to one of which nothing gets through, until the first is disabled.
fn disabled_by(waiting: WaitingLimits) {
    let world = World::with_webhooks(Settings { waiting, ..settings() });
    let (hanging, good) = (Receiver::reacting(|_, _| Reaction::Silence), Receiver::new());
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let slow = listen(&alpha, &alpha.id, &hanging, &["identity.updated"]);
    let fast = listen(&alpha, &alpha.id, &good, &["identity.updated"]);
    let shown = |subscription| alpha.get(&path_of(subscription)).ok()["disabled_reason"].clone();
    let mut changes = 0;
    eventually("the subscription is disabled", || {
        changes += 1;
        admin.change("alpha", &json!({ "description": changes.to_string() })).ok();
        fanned_out(&world);
        shown(&slow) == "backlog"
    });
    assert!(changes > 20, "{changes}");
    fanned_out(&world);
    let id = text(&slow["id"]);
    let waiting = format!("select count(*) from webhook_queue where endpoint_id = '{id}'");
    assert_eq!(world.database().number(&waiting), 0);
    assert_eq!(shown(&fast), json!(null));
    good.wait_for(changes);
    let events = admin.get("/events?event_type=webhook_subscription.disabled").ok();
    assert_eq!(events["events"][0]["payload"]["reason"], "backlog");
}

#[test]
fn a_subscription_for_which_too_much_waits_is_disabled() {
    // A payload has some 2,000 bytes.
    let (deliveries, bytes, any) = (30, 50_000, 1 << 40);
    for subscription in [Amount { deliveries, bytes: any }, Amount { deliveries: any, bytes }] {
        disabled_by(WaitingLimits { subscription, ..WaitingLimits::default() });
    }
}

#[test]
fn where_too_much_waits_in_an_organization_the_longest_queue_is_given_up() {
    // A payload has some 2,000 bytes.
    let (deliveries, bytes, any) = (30, 50_000, 1 << 40);
    for organization in [Amount { deliveries, bytes: any }, Amount { deliveries: any, bytes }] {
        disabled_by(WaitingLimits { organization, ..WaitingLimits::default() });
    }
}
