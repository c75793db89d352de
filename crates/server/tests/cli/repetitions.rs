//! The same request is sent many times, and the service is killed meanwhile.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::harness::{DEADLINE, Place, eventually};

/// The number of clients that send it.
const CLIENTS: u32 = 50;

/// How often it was sent before the service is killed.
const ENOUGH: u32 = 20;

fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(40)).build().unwrap()
}

/// Sends the request until it is answered, to the present address of the service.
fn insist(base: &Mutex<String>, key: &str, sent: &AtomicU32) -> String {
    let client = client();
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "the request is not answered");
        let url = format!("{}/api/v1/identities", base.lock().unwrap());
        let request = client.post(url).header("X-API-Key", key).header("Idempotency-Key", "once");
        let response = request.json(&json!({ "agent_handle": "only-one" })).send();
        sent.fetch_add(1, Ordering::Relaxed);
        let Ok(response) = response else { continue };
        let status = response.status().as_u16();
        // The answer may break off when the service is killed.
        let Ok(body) = response.text() else { continue };
        match status {
            201 => return body,
            409 => assert!(body.contains("idempotency_in_progress"), "{body}"),
            other => assert_eq!(other, 503, "{body}"),
        }
    }
}

#[test]
fn one_key_fifty_times_across_a_kill_has_one_effect_and_one_answer() {
    let place = Place::served();
    let first = place.serve();
    let made = place.run(&["org", "create", "once", "--json"]).succeeded().json();
    let key = made["api_key"].as_str().unwrap();
    let (base, sent) = (Mutex::new(first.base()), AtomicU32::new(0));
    let (again, answers) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| insist(&base, key, &sent))).collect();
        eventually("it was sent often enough", || sent.load(Ordering::Relaxed) >= ENOUGH);
        first.kill();
        let again = place.serve();
        *base.lock().unwrap() = again.base();
        let answers: Vec<String> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        (again, answers)
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let events = client()
        .get(format!("{}/api/v1/events?event_type=identity.created", again.base()))
        .header("X-API-Key", key)
        .send()
        .unwrap();
    let events: Value = events.json().unwrap();
    assert_eq!(events["events"].as_array().unwrap().len(), 1, "{events}");
    assert!(again.stop().success());
}
