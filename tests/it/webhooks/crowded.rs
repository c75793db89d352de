//! Many organizations whose receivers are slow leave room for one more. Who is served is counted.

use std::time::Duration;

use identity_webhooks::Settings;
use serde_json::json;

use super::deliveries::{listen, settings};
use super::receiver::{Reaction, Receiver};
use crate::harness::{Caller, World, eventually, text};

/// How many deliveries of a process are on their way while organizations may have all of their shares.
const DELIVERIES: usize = 768;

/// To how many log endpoints a process sends while organizations may have all of theirs.
const ENDPOINTS_OF_LARGE_SHARES: usize = 192;

/// To how many log endpoints a process sends.
const ENDPOINTS: usize = 256;

fn patient() -> World {
    World::with_webhooks(Settings { timeout: Duration::from_mins(10), ..settings() })
}

#[test]
fn organizations_whose_subscriptions_hang_leave_room_for_another_one() {
    let (world, hanging, good) = (patient(), Receiver::reacting(|_, _| Reaction::Silence), Receiver::new());
    let admins: Vec<Caller> = (0..4).map(|_| world.new_admin()).collect();
    let handles = |organization: usize| ["alpha", "bravo"].map(|name| format!("{name}-{organization}"));
    for (organization, admin) in admins.iter().enumerate() {
        for handle in handles(organization) {
            let id = text(&admin.create(&handle)["id"]);
            for _ in 0..16 {
                listen(admin, &id, &hanging, &["identity.updated"]);
            }
        }
    }
    for number in 0..8 {
        for (organization, admin) in admins.iter().enumerate() {
            for handle in handles(organization) {
                admin.change(&handle, &json!({ "description": number.to_string() })).ok();
            }
        }
    }
    hanging.wait_for(DELIVERIES);
    let other = world.new_admin();
    listen(&other, &text(&other.create("elsewhere")["id"]), &good, &["identity.updated"]);
    good.wait_for(1);
    assert_eq!(hanging.received().len(), DELIVERIES);
}

#[test]
fn organizations_whose_log_endpoints_hang_leave_room_for_another_one() {
    let (world, hanging, good) = (patient(), Receiver::reacting(|_, _| Reaction::Silence), Receiver::new());
    let send = |admin: &Caller, receiver: &Receiver| {
        admin.post("/webhooks/log-endpoints", &json!({ "url": receiver.url(), "after": 0 })).created()
    };
    let admins: Vec<Caller> = (0..17).map(|_| world.new_admin()).collect();
    for _ in 0..16 {
        for admin in &admins {
            send(admin, &hanging);
        }
    }
    hanging.wait_for(ENDPOINTS_OF_LARGE_SHARES);
    // The service looks for endpoints once a second.
    let looked = "select count(*) from (select max(created_at) as last from webhook_log_endpoints) as created
                  where clock_timestamp() > last + interval '2.5 seconds'";
    eventually("the service has looked for endpoints", || world.database().number(looked) == 1);
    send(&world.new_admin(), &good);
    good.wait_for(1);
    assert!(hanging.received().len() < ENDPOINTS);
}
