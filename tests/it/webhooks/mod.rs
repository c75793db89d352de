//! Webhook subscriptions: who may have which, what they show, and how they end.

mod addresses;
mod bad_input;
mod crowded;
mod deliveries;
mod ends;
mod failing;
mod hidden;
mod late;
mod limits;
mod log_endpoints;
mod published;
pub(crate) mod receiver;
mod replays;
mod shares;
mod subscriptions;
mod waiting;

use identityd::operator::Operator;
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, World, text, wait};

const PATH: &str = "/webhooks/subscriptions";
const URL: &str = "https://harbor.example/events";

/// A body of a subscription that an identity owns.
fn of_identity(id: &str) -> Value {
    json!({ "agent_identity_id": id, "url": URL, "event_types": ["identity.updated"] })
}

fn subscribe(caller: &Caller, body: &Value) -> Value {
    caller.post(PATH, body).created()
}

fn path_of(subscription: &Value) -> String {
    format!("{PATH}/{}", text(&subscription["id"]))
}

fn path_of_endpoint(endpoint: &Value) -> String {
    format!("/webhooks/log-endpoints/{}", text(&endpoint["id"]))
}

/// Disables a subscription, as its operator does.
fn disable(world: &World, id: &str) {
    let database = world.database();
    wait(Operator::new(database.pool().clone(), database.signing()).disable_webhook(id)).unwrap();
}

/// The ids of the subscriptions that are listed with a query.
fn listed(caller: &Caller, query: &str) -> Vec<String> {
    let answer = caller.get(&format!("{PATH}{query}")).ok();
    answer["subscriptions"].as_array().unwrap().iter().map(|one| text(&one["id"])).collect()
}

#[track_caller]
fn refused(answer: Answer, status: u16, code: &str) {
    let answer = answer.must_be(status);
    assert_eq!(answer.json()["code"], code, "{answer}");
}

#[track_caller]
fn not_found(answer: Answer) {
    refused(answer, 404, "webhook_subscription_not_found");
}
