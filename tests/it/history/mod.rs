//! History, as auditors read it: with which keys, which events, in which form, live, and as of a past moment.

mod filters;
mod follow;
mod keys;
mod pages;
mod past;
mod past_at_random;
mod representations;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, World, text};

impl Caller {
    /// The events of one page, which is the last one.
    #[track_caller]
    pub(crate) fn events(&self, query: &str) -> Vec<Value> {
        let page = self.get(&format!("/events?limit=1000&{query}")).ok();
        assert_eq!(page["next"], Value::Null, "more than a page");
        page["events"].as_array().unwrap().clone()
    }

    /// The events of all identities that ever had a handle.
    #[track_caller]
    fn events_of(&self, handle: &str) -> Vec<Value> {
        self.get(&format!("/identities/{handle}/events")).ok()["events"].as_array().unwrap().clone()
    }

    fn accepting(&self, accept: &str, path: &str) -> Answer {
        self.call(Method::GET, path).header("Accept", accept).send()
    }

    /// A whole range, as lines of JSON.
    #[track_caller]
    fn lines(&self, path: &str) -> String {
        let call = self.call(Method::GET, path).header("Accept", "application/x-ndjson");
        let response = call.open().unwrap();
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        response.text().unwrap()
    }
}

/// The types of events.
fn types(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| text(&event["event_type"])).collect()
}

fn sequences(events: &[Value]) -> Vec<i64> {
    events.iter().map(|event| event["organization_sequence"].as_i64().unwrap()).collect()
}

/// A service with a short history.
fn with_a_past() -> World {
    let world = World::new();
    let admin = world.admin();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    admin.grant("alpha", &bravo.id).created();
    alpha.change("alpha", &json!({"description": "it's \"quoted\"\n\u{e9}"})).ok();
    admin.change("bravo", &json!({"agent_handle": "bravo-2"})).ok();
    admin.provision("alpha");
    admin.create("gone");
    admin.remove("gone");
    world
}
