//! Webhooks of a whole process: killed while deliveries are on their way, with a proxy in its environment, with networks that
//! its operator allows.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;

use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};

use crate::harness::{Place, Serving, eventually};

/// How often the identity is changed before each kill.
const CHANGES: usize = 150;

/// What arrived at each path.
#[derive(Default)]
struct Arrived {
    log: Vec<Value>,
    subscription: Vec<Value>,
    /// Whether no request is answered any more.
    is_silent: bool,
}

type Shared = Arc<Mutex<Arrived>>;

/// Starts a receiver, and returns its address.
fn receive(arrived: &Shared) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let arrived = Arc::clone(arrived);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let arrived = Arc::clone(&arrived);
            thread::spawn(move || while answer(&stream, &arrived).is_some() {});
        }
    });
    format!("http://{address}")
}

/// Reads a request and answers it, unless it is to be silent: then it waits until the sender is gone.
fn answer(stream: &TcpStream, arrived: &Mutex<Arrived>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (reader.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let is_silent = {
        let mut arrived = arrived.lock().unwrap();
        let is_log = head.starts_with("post /log ");
        let list = if is_log { &mut arrived.log } else { &mut arrived.subscription };
        list.push(serde_json::from_slice(&body).unwrap());
        arrived.is_silent
    };
    if is_silent {
        reader.read_exact(&mut [0]).ok()?;
        return None;
    }
    (&*stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()
}

/// What calls the service with a key.
struct Calls<'a> {
    client: Client,
    base: String,
    key: &'a str,
}

impl Calls<'_> {
    fn send(&self, method: &str, path: &str, body: &Value) -> Response {
        let url = format!("{}/api/v1{path}", self.base);
        let call = self.client.request(method.parse().unwrap(), url).header("X-API-Key", self.key);
        call.json(body).send().unwrap()
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.send(method, path, body);
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().unwrap()
    }
}

/// What calls the service with a key, and uses no proxy.
fn calls<'a>(serving: &Serving, key: &'a str) -> Calls<'a> {
    Calls { client: Client::builder().no_proxy().build().unwrap(), base: serving.base(), key }
}

/// A demonstration may send to this machine.
fn serve(place: &Place) -> Serving {
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--demo"]);
    Serving::start(command.stderr(Stdio::null()))
}

#[test]
fn what_is_on_its_way_when_the_service_is_killed_is_sent_again_and_nothing_is_lost() {
    let (place, arrived) = (Place::served(), Shared::default());
    let receiver = receive(&arrived);
    let mut serving = serve(&place);
    let made = place.run(&["org", "create", "acme", "--json"]).succeeded().json();
    let key = made["api_key"].as_str().unwrap();
    let calls = calls(&serving, key);
    let alpha = calls.call("POST", "/identities", &json!({ "agent_handle": "alpha" }));
    let log = json!({ "url": format!("{receiver}/log"), "after": 0 });
    calls.call("POST", "/webhooks/log-endpoints", &log);
    let types = ["identity.updated"];
    let subscription =
        json!({ "agent_identity_id": alpha["id"], "url": format!("{receiver}/in"), "event_types": types });
    calls.call("POST", "/webhooks/subscriptions", &subscription);
    for kill in 0..2 {
        let calls = self::calls(&serving, key);
        for change in 0..CHANGES {
            if change == CHANGES / 2 {
                arrived.lock().unwrap().is_silent = true;
            }
            let description = json!({ "description": format!("{kill} {change}") });
            calls.call("PATCH", "/identities/alpha", &description);
        }
        serving.kill();
        arrived.lock().unwrap().is_silent = false;
        serving = serve(&place);
    }
    // An identity that is changed, and its signing key.
    let updates = 2 * CHANGES + 1;
    let ids = || -> BTreeSet<String> {
        let arrived = arrived.lock().unwrap();
        arrived.subscription.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    };
    eventually("every update has arrived", || ids().len() == updates);
    let is_last = |event: &Value| event["payload"]["description"] == format!("1 {}", CHANGES - 1);
    eventually("the whole history has arrived", || arrived.lock().unwrap().log.iter().any(is_last));
    let arrived = arrived.lock().unwrap();
    let sequence = |event: &Value| event["organization_sequence"].as_i64().unwrap();
    let mut sequences: Vec<i64> = arrived.log.iter().map(sequence).collect();
    assert!(sequences.is_sorted(), "{sequences:?}");
    sequences.dedup();
    assert_eq!(sequences, (1..).take(sequences.len()).collect::<Vec<i64>>());
    assert!(serving.stop().success());
}

#[test]
fn what_arrives_is_a_line_of_the_log_and_no_proxy_of_the_environment_is_used() {
    let (place, arrived) = (Place::served(), Shared::default());
    let (receiver, log) = (receive(&arrived), place.path("log"));
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--demo"]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        // Nobody listens there.
        command.env(name, "http://127.0.0.1:9");
    }
    let serving = Serving::start(command.stderr(File::create(&log).unwrap()));
    let made = place.run(&["org", "create", "acme", "--json"]).succeeded().json();
    let calls = calls(&serving, made["api_key"].as_str().unwrap());
    let alpha = calls.call("POST", "/identities", &json!({ "agent_handle": "alpha" }));
    let subscription = json!({
        "agent_identity_id": alpha["id"], "url": format!("{receiver}/canary"), "event_types": ["identity.updated"]
    });
    calls.call("POST", "/webhooks/subscriptions", &subscription);
    eventually("the update has arrived", || !arrived.lock().unwrap().subscription.is_empty());
    eventually("its line is written", || fs::read_to_string(&log).unwrap().contains("sent a webhook"));
    assert!(serving.stop().success());
    let log = fs::read_to_string(&log).unwrap();
    assert!(!log.contains("/canary") && !log.contains("whsec_"), "{log}");
}

#[test]
fn a_network_that_is_not_public_is_reached_if_the_operator_allows_it() {
    let place = Place::served();
    let command = ["serve", "--listen", "127.0.0.1:0", "--webhook-allow-networks", "10.1.0.0/16"];
    let serving = Serving::start(place.command(&command).stderr(Stdio::null()));
    let made = place.run(&["org", "create", "acme", "--json"]).succeeded().json();
    let calls = calls(&serving, made["api_key"].as_str().unwrap());
    let alpha = calls.call("POST", "/identities", &json!({ "agent_handle": "alpha" }));
    let status = |host: &str| {
        let url = format!("https://{host}/in");
        let body =
            json!({ "agent_identity_id": alpha["id"], "url": url, "event_types": ["identity.updated"] });
        calls.send("POST", "/webhooks/subscriptions", &body).status().as_u16()
    };
    assert_eq!(["10.1.2.3", "10.2.0.1", "127.0.0.1", "169.254.169.254"].map(status), [201, 422, 422, 422]);
    assert!(serving.stop().success());
}
