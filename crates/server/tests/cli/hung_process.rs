//! A process that hangs does not answer with what it knew before, once it goes on.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::harness::{DEADLINE, Place, Serving, eventually, signal};

/// A service that hangs as soon as it answers from its cache, and one request to it that nobody has answered yet.
struct Hung {
    serving: Serving,
    request: TcpStream,
}

impl Hung {
    fn start(place: &Place, key: &str) -> Self {
        let serving = place.serve();
        Client::new()
            .post(format!("{}/api/v1/identities", serving.base()))
            .header("X-API-Key", key)
            .json(&json!({ "agent_handle": "alpha" }))
            .send()
            .unwrap();
        eventually("the service answers from its cache", || {
            until_answered(request(&serving, key));
            let metrics = Client::new().get(serving.metrics()).send().unwrap().text().unwrap();
            metrics.contains("identityd_sole_process 1\n")
                && ["key", "identity"].iter().all(|kind| {
                    let hits = format!("identityd_cache_lookups_total{{kind=\"{kind}\",outcome=\"hit\"}}");
                    metrics.contains(&hits) && !metrics.contains(&format!("{hits} 0\n"))
                })
        });
        signal("STOP", &serving.pid().to_string());
        eventually("all threads are stopped", || is_stopped(serving.pid()));
        let request = request(&serving, key);
        Self { serving, request }
    }

    /// The answer to the request, once the service goes on.
    fn goes_on(self) -> String {
        signal("CONT", &self.serving.pid().to_string());
        until_answered(self.request)
    }
}

/// Whether all threads of a process are stopped. The first one stops when it is its turn, and then stops the others.
fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).unwrap()).all(|stat| {
        let (_name, rest) = stat.rsplit_once(") ").unwrap();
        rest.starts_with('T')
    })
}

fn request(serving: &Serving, key: &str) -> TcpStream {
    let authority = serving.base().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&authority).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!(
        "GET /api/v1/identities/alpha HTTP/1.1\r\nHost: {authority}\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn until_answered(mut stream: TcpStream) -> String {
    let mut received = String::new();
    stream.read_to_string(&mut received).unwrap();
    received
}

fn organization(place: &Place) -> Value {
    place.run(&["org", "create", "acme", "--json"]).succeeded().json()
}

#[test]
fn what_another_service_wrote_meanwhile_is_shown() {
    let place = Place::served();
    let key = organization(&place)["api_key"].as_str().unwrap().to_owned();
    let hung = Hung::start(&place, &key);
    let other = place.serve();
    let changed = Client::new()
        .patch(format!("{}/api/v1/identities/alpha", other.base()))
        .header("X-API-Key", &key)
        .json(&json!({ "description": "changed" }))
        .send()
        .unwrap();
    assert_eq!(changed.status(), 200);
    let answer = hung.goes_on();
    assert!(answer.contains("\"description\":\"changed\""), "{answer}");
}

#[test]
fn a_key_that_an_operator_revoked_meanwhile_is_refused() {
    let place = Place::served();
    let made = organization(&place);
    let hung = Hung::start(&place, made["api_key"].as_str().unwrap());
    let key_id = made["api_key"].as_str().unwrap().split_once('.').unwrap().0;
    place.run(&["key", "revoke", key_id]).succeeded();
    let answer = hung.goes_on();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}
