//! What is slow, or waits, takes nothing from others.

use std::time::Duration;

use identity_webhooks::Settings;

use super::deliveries::{listen, settings};
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
            admin.change(handle, &serde_json::json!({ "description": number.to_string() })).ok();
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
