//! Connections: slow ones, large ones, and both versions of HTTP.

use identityd::settings::WireLayer;
use reqwest::blocking::Client;

use crate::harness::World;

fn impatient() -> World {
    World::with_wire(WireLayer { client_timeout_seconds: Some(1), ..WireLayer::default() })
}

#[test]
fn whoever_says_nothing_is_hung_up_on() {
    let world = impatient();
    assert_eq!(world.admin().connect().until_closed(), "");
}

#[test]
fn whoever_does_not_end_the_headers_is_hung_up_on() {
    let world = impatient();
    let mut line = world.admin().connect();
    line.send("GET /api/v1/identities/ HTTP/1.1\r\nHost: localhost\r\nX-Slow:");
    let answer = line.until_closed();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[test]
fn whoever_rests_too_long_between_requests_is_hung_up_on() {
    let world = impatient();
    let mut line = world.admin().connect();
    line.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = line.until_closed();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn whoever_does_not_end_the_body_is_told_so() {
    let world = impatient();
    let admin = world.admin();
    let mut line = admin.connect();
    line.send(admin.head("POST", "/api/v1/identities/", 100));
    line.send("{\"agent_handle\":");
    let answer = line.until_closed();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("body_too_slow"), "{answer}");
}

#[test]
fn headers_of_more_than_64_kibibytes_are_too_large() {
    let world = World::new();
    let admin = world.admin();
    let header = |size: usize| format!("X-Large: {}\r\n", "x".repeat(size));
    let large = header(70 * 1024);
    world.stranger().raw_with("GET", "/healthz", large.as_bytes(), b"").must_be(431);
    let many = "X-Many: x\r\n".repeat(101);
    world.stranger().raw_with("GET", "/healthz", many.as_bytes(), b"").must_be(431);
    world.stranger().raw_with("GET", "/healthz", header(60 * 1024).as_bytes(), b"").must_be(200);
    admin.get("/identities/").ok();
}

#[test]
fn a_request_that_arrives_byte_by_byte_is_a_request() {
    let world = World::new();
    let admin = world.admin();
    let mut line = admin.connect();
    for byte in admin.head("GET", "/api/v1/identities/", 0).bytes() {
        line.send([byte]);
    }
    let answer = line.until_closed();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn clients_that_know_that_we_speak_http_2_are_answered_in_it() {
    let world = World::new();
    let mut line = world.admin().connect();
    let no_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    line.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    line.send(no_settings);
    let frame = line.receive(9);
    assert_eq!(frame[3], 4, "the first frame of HTTP/2 is SETTINGS: {frame:?}");
}

#[test]
fn who_finds_no_room_waits_until_somebody_leaves() {
    let world = World::with_wire(WireLayer { max_connections: Some(1), ..WireLayer::default() });
    let ask = |inside: &Client| inside.get(format!("{}/healthz", world.base_url())).send().unwrap().text();
    let inside = Client::builder().no_proxy().build().unwrap();
    ask(&inside).unwrap();
    let stranger = world.stranger();
    let mut outside = stranger.connect();
    outside.send(stranger.head("GET", "/healthz", 0));
    // Long after the other has asked, it is still this one who is served.
    for _ in 0..100 {
        ask(&inside).unwrap();
    }
    assert!(outside.is_silent());
    drop(inside);
    assert!(outside.until_closed().starts_with("HTTP/1.1 200"));
}
