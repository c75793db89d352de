//! Pages of deliveries whose payloads are large.

use serde_json::Value;

use super::deliveries::{DELIVERIES, eventually_delivered, listen, settings};
use super::receiver::Receiver;
use crate::harness::{Agent, Caller, World};

/// An agent with one delivery, and copies of it with payloads of 100 KB.
fn crowded(copies: usize) -> (World, Agent) {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let alpha = world.agent("alpha");
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    eventually_delivered(&alpha, 1);
    world.database().execute(&format!(
        "insert into webhook_deliveries (id, organization_id, endpoint_id, identity_id, event_id, event_type, url, payload,
                                         duration_ms, is_replay, created_at)
         select gen_random_uuid(), organization_id, endpoint_id, identity_id, event_id, event_type, url,
                place || repeat('\"', 100000), duration_ms, is_replay, created_at + place * interval '1 s'
         from webhook_deliveries, generate_series(1, {copies}) as place"
    ));
    (world, alpha)
}

/// The beginnings of the payloads of a page.
fn places(caller: &Caller, query: &str) -> Vec<String> {
    let answer = caller.get(&format!("{DELIVERIES}{query}")).must_be(200);
    let body: Value = answer.json();
    let payloads = body["deliveries"].as_array().unwrap().iter();
    let payloads = payloads.map(|one| one["request_payload"].as_str().unwrap().to_owned());
    payloads.map(|payload| payload.chars().take_while(char::is_ascii_digit).collect()).collect()
}

fn numbers(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[test]
fn a_page_of_large_deliveries_is_whole_and_in_order() {
    let (world, alpha) = crowded(150);
    assert_eq!(places(&alpha, "?limit=100"), numbers((51..=150).rev()));
    assert_eq!(places(&alpha, "?limit=20&offset=10"), numbers((121..=140).rev()));
    assert_eq!(places(&world.admin(), "?limit=200").len(), 151);
    assert_eq!(places(&alpha, "?event_type=identity.deleted"), numbers(0..0));
}

#[test]
fn a_large_page_that_is_known_is_not_sent_again() {
    let (world, alpha) = crowded(10);
    for (query, is_large) in [("?limit=10", true), ("?limit=1&offset=10", false)] {
        let path = format!("{DELIVERIES}{query}");
        let answer = alpha.get(&path).must_be(200);
        let tag = &answer.headers["etag"];
        assert_eq!(tag.starts_with("W/"), is_large, "{query}: {tag}");
        assert_eq!(answer.headers.contains_key("content-length"), !is_large, "{query}");
        let known = |tag: &str| alpha.call(reqwest::Method::GET, &path).header("If-None-Match", tag).send();
        assert_eq!(known(tag).must_be(304).headers["etag"], *tag);
        world.database().execute("update read_model.webhook_subscriptions set status = 'disabled'");
        assert_ne!(
            known(tag).must_be(200).headers["etag"],
            *tag,
            "the deliveries cannot be sent again any more"
        );
        world.database().execute("update read_model.webhook_subscriptions set status = 'active'");
    }
}
