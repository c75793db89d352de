//! Traces, as a collector receives them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use reqwest::blocking::Client;

use crate::harness::{DEADLINE, Place, Serving};

/// A collector that accepts every request: its address, and the path and body of each request.
pub(crate) fn collector() -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (sender, mut answers) = (sender.clone(), stream.unwrap());
            let mut requests = BufReader::new(answers.try_clone().unwrap());
            thread::spawn(move || {
                while let Some(request) = read(&mut requests) {
                    answers.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
                    // The test may have ended.
                    let _ = sender.send(request);
                }
            });
        }
    });
    (endpoint, receiver)
}

fn read(requests: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let (mut path, mut size) = (String::new(), 0);
    for line in requests.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if path.is_empty() {
            line.clone_into(&mut path);
        }
        if let Some(length) = line.to_lowercase().strip_prefix("content-length:") {
            size = length.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; size];
    (!path.is_empty()).then(|| requests.read_exact(&mut body).unwrap())?;
    Some((path, body))
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_request_is_a_span_of_its_clients_trace() {
    let (endpoint, collected) = collector();
    let place = Place::served();
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--otlp-endpoint", &endpoint]);
    let serving = Serving::start(command.stderr(Stdio::null()));
    let made = place.run(&["org", "create", "traced", "--json"]).succeeded().json();
    let key = made["api_key"].as_str().unwrap();
    let request = Client::new().get(format!("{}/api/v1/identities/nobody", serving.base()));
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.header("X-API-Key", key).header("traceparent", traceparent).send().unwrap();
    // The service sends the remaining spans before it ends, so the test does not wait.
    assert!(serving.stop().success());
    let (path, body) = collected.recv_timeout(DEADLINE).unwrap();
    assert!(path.starts_with("POST /v1/traces "), "{path}");
    let named = "GET /api/v1/identities/{agent_handle}";
    for part in [named, "http.route", "http.response.status_code", "identityd.key_id", "service.name"] {
        assert!(contains(&body, part.as_bytes()), "{part} is not in {}", String::from_utf8_lossy(&body));
    }
    let trace =
        [0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c];
    assert!(contains(&body, &trace), "the trace is another one");
    assert!(contains(&body, &[0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]), "the parent is another one");
    let secret = key.split_once('.').unwrap().1;
    assert!(!contains(&body, secret.as_bytes()), "a secret is in a trace");
}

#[test]
fn a_collector_that_is_away_holds_nobody_up() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let place = Place::served();
    let endpoint = format!("http://{nobody}");
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--otlp-endpoint", &endpoint]);
    let serving = Serving::start(command.stderr(Stdio::null()));
    let response = reqwest::blocking::get(format!("{}/healthz", serving.base())).unwrap();
    assert_eq!(response.status(), 200);
    assert!(serving.stop().success());
}
