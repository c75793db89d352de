//! The service is stopped, killed, or loses its database under load. Every acknowledged write is there afterwards,
//! whole, and every failed one has an error that says that it can be tried again.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};

use crate::harness::{Place, Serving, eventually, signal};

/// The number of clients that write at the same time.
const WRITERS: u32 = 8;

/// How many writes are acknowledged before the service is stopped or killed.
const ENOUGH: usize = 150;

/// The results of all clients.
#[derive(Default)]
struct Seen {
    acknowledged: Mutex<BTreeSet<String>>,
    /// Handles whose requests got no complete answer.
    cut: Mutex<BTreeSet<String>>,
    outages: AtomicU32,
    surprises: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Seen {
    /// Notes a request whose connection broke. The identity may or may not have been created.
    fn cut(&self, handle: String) {
        self.cut.lock().unwrap().insert(handle);
    }
}

/// Clients that create identities until they are told to stop.
struct Load {
    seen: Arc<Seen>,
    writers: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(base: &str, key: &str) -> Self {
        let seen = Arc::new(Seen::default());
        let start = |writer| {
            let (seen, base, key) = (Arc::clone(&seen), base.to_owned(), key.to_owned());
            std::thread::spawn(move || write(writer, &base, &key, &seen))
        };
        let writers = (0..WRITERS).map(start).collect();
        Self { seen, writers }
    }

    fn acknowledged(&self) -> usize {
        self.seen.acknowledged.lock().unwrap().len()
    }

    fn reaches(&self, acknowledged: usize) {
        eventually("enough was acknowledged", || self.acknowledged() >= acknowledged);
    }

    /// Stops the clients, and returns the acknowledged handles.
    fn end(mut self) -> BTreeSet<String> {
        self.seen.stop.store(true, Ordering::Relaxed);
        for writer in self.writers.drain(..) {
            writer.join().unwrap();
        }
        let surprises = self.seen.surprises.lock().unwrap();
        assert!(surprises.is_empty(), "answers that are neither success nor outage: {surprises:?}");
        self.seen.acknowledged.lock().unwrap().clone()
    }
}

fn write(writer: u32, base: &str, key: &str, seen: &Seen) {
    let client = client();
    for number in 0.. {
        if seen.stop.load(Ordering::Relaxed) {
            return;
        }
        let handle = format!("load-{writer}-{number}");
        let request = client.post(format!("{base}/api/v1/identities")).header("X-API-Key", key);
        match request.json(&json!({ "agent_handle": handle })).send() {
            Ok(response) => judge(response, handle, seen),
            // The service does not listen any more.
            Err(error) if error.is_connect() => return,
            Err(_) => seen.cut(handle),
        }
    }
}

fn judge(response: Response, handle: String, seen: &Seen) {
    let status = response.status();
    let retry_after = response.headers().contains_key("retry-after");
    match response.json::<Value>() {
        Ok(body) if status == StatusCode::CREATED => {
            assert_eq!(body["agent_handle"], json!(handle), "the answer is whole");
            seen.acknowledged.lock().unwrap().insert(handle);
        }
        Ok(_) if status == StatusCode::SERVICE_UNAVAILABLE && retry_after => {
            seen.outages.fetch_add(1, Ordering::Relaxed);
        }
        Err(_) if status == StatusCode::CREATED => seen.cut(handle),
        other => seen.surprises.lock().unwrap().push(format!("{status} {other:?}")),
    }
}

fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(40)).build().unwrap()
}

/// Creates an organization while the service runs, and returns its admin key.
fn admin_key(place: &Place) -> String {
    let made = place.run(&["org", "create", "load", "--json"]).succeeded().json();
    made["api_key"].as_str().unwrap().to_owned()
}

fn identities(base: &str, key: &str) -> Vec<Value> {
    let response = client().get(format!("{base}/api/v1/identities")).header("X-API-Key", key).send().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.json().unwrap()
}

fn handles(identities: &[Value]) -> BTreeSet<String> {
    identities.iter().map(|identity| identity["agent_handle"].as_str().unwrap().to_owned()).collect()
}

/// Asserts that every acknowledged identity exists, every identity is whole, and no read model differs from the log.
fn nothing_is_lost_or_half_made(
    place: &Place,
    serving: &Serving,
    key: &str,
    acknowledged: &BTreeSet<String>,
) {
    let there = identities(&serving.base(), key);
    for identity in &there {
        let handle = identity["agent_handle"].as_str().unwrap();
        assert_eq!(identity["mailbox"]["email_address"], json!(format!("{handle}@agents.localhost")));
        assert_eq!(identity["tunnel"]["tunnel_name"], json!(handle));
    }
    let there = handles(&there);
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    place.run(&["projections", "verify", "--all"]).succeeded();
}

#[test]
fn a_service_told_to_stop_under_load_loses_nothing() {
    let place = Place::served();
    let serving = place.serve();
    let key = admin_key(&place);
    let load = Load::start(&serving.base(), &key);
    load.reaches(ENOUGH);
    let seen = Arc::clone(&load.seen);
    assert!(serving.stop().success());
    let acknowledged = load.end();
    let again = place.serve();
    nothing_is_lost_or_half_made(&place, &again, &key, &acknowledged);
    // A connection may break before the request was read. But each write that was carried out was acknowledged.
    let there = handles(&identities(&again.base(), &key));
    let cut = seen.cut.lock().unwrap();
    let unanswered: Vec<_> = cut.intersection(&there).collect();
    assert!(unanswered.is_empty(), "done and not answered: {unanswered:?} of {cut:?}");
    assert!(again.stop().success());
}

#[test]
fn a_service_killed_under_load_loses_nothing() {
    let place = Place::served();
    let mut acknowledged = BTreeSet::new();
    let first = place.serve();
    let key = admin_key(&place);
    let load = Load::start(&first.base(), &key);
    load.reaches(ENOUGH);
    first.kill();
    acknowledged.extend(load.end());
    let again = place.serve();
    nothing_is_lost_or_half_made(&place, &again, &key, &acknowledged);
    assert!(again.stop().success());
}

#[test]
fn a_database_that_goes_away_under_load_is_an_outage_and_no_loss() {
    let place = Place::served();
    let serving = place.serve();
    let key = admin_key(&place);
    let load = Load::start(&serving.base(), &key);
    load.reaches(ENOUGH);
    let postmaster = place.postmaster().unwrap();
    // The process with this lock starts and stops the server, so no other process does.
    let starter = File::open(place.postgres().join("starter.lock")).unwrap();
    starter.lock().unwrap();
    signal("INT", &postmaster.to_string());
    eventually("Postgres has stopped", || place.postmaster().is_none());
    eventually("clients are told of the outage", || load.seen.outages.load(Ordering::Relaxed) > 0);
    let probe = client().get(format!("{}/readyz", serving.base())).send().unwrap();
    assert_eq!(probe.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(probe.json::<Value>().unwrap()["detail"], json!("The database cannot be reached"));
    for path in ["/api/v1/identities", "/api/v1/identities/load-0-0", "/api/v1/tunnels"] {
        let read =
            client().get(format!("{}{path}", serving.base())).header("X-API-Key", &key).send().unwrap();
        assert_eq!(read.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(read.headers().contains_key("retry-after"), "{path}");
        assert_eq!(read.json::<Value>().unwrap()["code"], json!("unavailable"), "{path}");
    }
    let before = load.acknowledged();
    starter.unlock().unwrap();
    load.reaches(before + ENOUGH);
    let ready =
        || client().get(format!("{}/readyz", serving.base())).send().unwrap().status() == StatusCode::OK;
    eventually("the service is ready again by itself", ready);
    assert!(place.postmaster().is_some_and(|again| again != postmaster));
    let acknowledged = load.end();
    nothing_is_lost_or_half_made(&place, &serving, &key, &acknowledged);
    assert!(serving.stop().success());
}
