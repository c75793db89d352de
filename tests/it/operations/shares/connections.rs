//! Connections that clients open and do not use.

use identityd::settings::WireLayer;

use crate::harness::{Caller, Line, World};

fn idle(caller: &Caller) -> Line {
    let mut line = caller.connect();
    line.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = line.receive(b"HTTP/1.1 200".len());
    assert_eq!(head, b"HTTP/1.1 200");
    line
}

#[test]
fn the_longest_idle_connection_makes_room() {
    for silent in [true, false] {
        let layer = WireLayer {
            max_connections: Some(2),
            max_connections_per_address: Some(2),
            ..WireLayer::default()
        };
        let world = World::with_wire(layer);
        let stranger = world.stranger();
        let hostile: Vec<Line> =
            (0..2).map(|_| if silent { stranger.connect() } else { idle(&stranger) }).collect();
        stranger.raw("GET", "/healthz", b"").must_be(200);
        let [oldest, _] = hostile.try_into().unwrap_or_else(|_| unreachable!());
        oldest.until_closed();
    }
}

#[test]
fn an_address_has_a_share_of_the_connections_and_a_proxy_has_none() {
    let layer = || WireLayer { max_connections: Some(8), ..WireLayer::default() };
    let world = World::with_wire(layer());
    let stranger = world.stranger();
    let mut lines: Vec<Line> = (0..3).map(|_| idle(&stranger)).collect();
    lines.remove(0).until_closed();
    assert!(lines.iter_mut().all(is_served));

    let proxies = Some(vec!["127.0.0.0/8".parse().unwrap()]);
    let world = World::with_wire(WireLayer { trusted_proxies: proxies, ..layer() });
    let stranger = world.stranger();
    let mut lines: Vec<Line> = (0..7).map(|_| idle(&stranger)).collect();
    assert!(lines.iter_mut().all(is_served));
}

fn is_served(line: &mut Line) -> bool {
    line.send("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // The rest of the first answer may come before the second answer.
    let mut seen = String::new();
    while !seen.contains("HTTP/1.1 404") {
        seen.push(char::from(line.receive(1)[0]));
    }
    true
}

#[test]
fn a_connection_that_is_busy_is_not_closed() {
    let layer = WireLayer { max_connections: Some(4), ..WireLayer::default() };
    let world = World::with_wire(layer);
    let admin = world.admin();
    let mut busy = admin.connect();
    busy.send(admin.head("POST", "/api/v1/identities/", 8));
    busy.send("not ");
    // The address may have one connection, and that one is busy.
    crate::harness::eventually("the request is under way", || {
        admin.metrics().value("identityd_http_requests_in_flight") == Some(1.0)
    });
    assert_eq!(admin.connect().until_closed(), "");
    busy.send("json");
    assert!(busy.until_closed().starts_with("HTTP/1.1 422"));
}
