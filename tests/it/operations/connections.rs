//! Connections: slow ones, many of them, and both versions of HTTP.

use identityd::settings::WireLayer;

use crate::harness::{World, eventually};

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
    let world = World::with_wire(WireLayer {
        max_connections: Some(1),
        max_connections_per_address: Some(2),
        ..WireLayer::default()
    });
    let admin = world.admin();
    let mut inside = admin.connect();
    inside.send(admin.head("POST", "/api/v1/identities/", 8));
    inside.send("not ");
    let stranger = world.stranger();
    eventually("the first is served", || {
        stranger.metrics().value("identityd_http_requests_in_flight") == Some(1.0)
    });
    let mut outside = stranger.connect();
    outside.send(stranger.head("GET", "/healthz", 0));
    assert!(outside.is_silent());
    inside.send("json");
    assert!(inside.until_closed().starts_with("HTTP/1.1 422"));
    assert!(outside.until_closed().starts_with("HTTP/1.1 200"));
}

#[test]
fn an_upload_that_is_too_large_is_told_so_to_its_end() {
    let world = World::new();
    let admin = world.admin();
    for mebibytes in [2, 8, 20] {
        let body = vec![b' '; mebibytes * 1024 * 1024];
        for answer in [
            admin.raw("POST", "/api/v1/identities/", &body),
            admin.raw_in_chunks("POST", "/api/v1/identities/", &body),
            world.holder_of("wrong").raw("POST", "/api/v1/identities/", &body),
        ] {
            assert_eq!(answer.headers["connection"], "close");
            assert!([413, 401].contains(&answer.status), "{answer}");
        }
    }
}

#[test]
fn a_connection_goes_on_after_an_answer_that_did_not_need_the_body() {
    let world = World::new();
    let agent = world.agent("alpha");
    let mut line = agent.connect();
    let head = agent.head("POST", "/api/v1/identities/", 2).replace("Connection: close\r\n", "");
    line.send(head + "{}");
    line.send(agent.head("GET", "/healthz", 0));
    let answers = line.until_closed();
    assert!(answers.starts_with("HTTP/1.1 403"), "{answers}");
    assert!(answers.contains("HTTP/1.1 200"), "{answers}");
}

// RFC 9112, section 3.2.
#[test]
fn a_request_has_one_host() {
    let world = World::new();
    let admin = world.admin();
    let key = admin.head("GET", "/", 0);
    let key = key.lines().find(|line| line.starts_with("X-API-Key")).unwrap();
    for path in ["/api/v1/identities/", "/healthz"] {
        for (hosts, status) in [("", "400"), ("Host: one\r\nHost: two\r\n", "400"), ("Host: one\r\n", "200")]
        {
            let mut line = admin.connect();
            line.send(format!("GET {path} HTTP/1.1\r\n{hosts}{key}\r\nConnection: close\r\n\r\n"));
            let answer = line.until_closed();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{hosts:?}: {answer}");
            assert_eq!(answer.contains("host_required"), status == "400", "{answer}");
        }
    }
    let mut old = admin.connect();
    old.send("GET /healthz HTTP/1.0\r\n\r\n");
    assert!(old.until_closed().starts_with("HTTP/1.0 200"));
}

// RFC 9112, section 3.2, and RFC 3986, section 3.2.
#[test]
fn what_is_no_host_is_refused() {
    let world = World::new();
    let asked = |host: &str| {
        let mut line = world.stranger().connect();
        line.send(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        line.until_closed()
    };
    for host in [
        "a b/c",
        "a/b",
        "a b",
        "user@one",
        "one:80:80",
        "one:x",
        "one:-1",
        "::1",
        "[::1",
        "[::1]80",
        "[one]",
        "[v1]",
        "one?",
        "one#",
        "one%4",
        "one%zz",
        "a\\b",
        "{one}",
        "<one>",
        "\"one\"",
        "\u{e4}",
    ] {
        let answer = asked(host);
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("host_required"), "{host}: {answer}");
    }
    for host in [
        "",
        "one",
        "one.example:8080",
        "one:",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:8080",
        "[v1.a:b]",
        "a_b~c",
        "%41",
    ] {
        let answer = asked(host);
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
    }
    let mut old = world.stranger().connect();
    old.send("GET /healthz HTTP/1.0\r\nHost: a b\r\n\r\n");
    assert!(old.until_closed().starts_with("HTTP/1.0 400"));
}

// RFC 9112, section 7.1.
#[test]
fn a_chunk_of_no_size_is_refused_and_the_connection_closed() {
    let world = World::new();
    let admin = world.admin();
    for chunk in ["zz\r\n{}\r\n", "-1\r\n{}\r\n", "\r\n{}\r\n", "2\r\n{}x\r\n", "fffffffffffffffff\r\n{}\r\n"]
    {
        let mut line = admin.connect();
        let head = admin.head_with("POST", "/api/v1/identities/", "Transfer-Encoding: chunked\r\n");
        line.send(head.replace("Connection: close\r\n", "") + chunk + "0\r\n\r\n");
        let answer = line.until_closed();
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("body_unreadable"),
            "{chunk:?}: {answer}"
        );
        assert!(answer.to_lowercase().contains("connection: close"), "{chunk:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{chunk:?}: {answer}");
    }
}
