//! How addresses are written, and what goes with them.

use serde_json::json;

use super::deliveries::settings;
use super::receiver::Receiver;
use super::subscribe;
use crate::harness::World;

#[test]
fn an_address_is_sent_to_whatever_its_characters() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let alpha = world.agent("alpha");
    let url = format!("{}/ü{{x}}?q=\"ä\"", receiver.url());
    let shown = subscribe(
        &alpha,
        &json!({ "agent_identity_id": alpha.id, "url": url, "event_types": ["identity.updated"] }),
    );
    assert_eq!(shown["url"], url);
    receiver.wait_for(1);
}
