//! Webhooks of a service that is killed while deliveries are on their way.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;

use reqwest::blocking::Client;
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
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}/api/v1{path}", self.base);
        let call = self.client.request(method.parse().unwrap(), url).header("X-API-Key", self.key);
        let answer = call.json(body).send().unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().unwrap()
    }
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
    let client = |serving: &Serving| {
        let client = Client::builder().no_proxy().build().unwrap();
        Calls { client, base: serving.base(), key }
    };
    let calls = client(&serving);
    let alpha = calls.call("POST", "/identities", &json!({ "agent_handle": "alpha" }));
    let log = json!({ "url": format!("{receiver}/log"), "after": 0 });
    calls.call("POST", "/webhooks/log-endpoints", &log);
    let types = ["identity.updated"];
    let subscription =
        json!({ "agent_identity_id": alpha["id"], "url": format!("{receiver}/in"), "event_types": types });
    calls.call("POST", "/webhooks/subscriptions", &subscription);
    for kill in 0..2 {
        let calls = client(&serving);
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
