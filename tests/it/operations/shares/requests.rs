//! Requests at the same time, and bodies that do not arrive.

use identityd::settings::WireLayer;

use super::{locked, refused_for_now};
use crate::harness::{Caller, Line, World, eventually};

/// Eight requests at the same time, of which a key has two and an organization four.
fn eight() -> World {
    World::with_wire(WireLayer { max_requests: Some(8), ..WireLayer::default() })
}

fn in_flight(world: &World) -> Option<f64> {
    world.stranger().metrics().value("identityd_http_requests_in_flight")
}

/// A write that waits while the log is locked.
fn write(caller: &Caller, handle: &str) -> Line {
    let body = format!("{{\"display_name\":\"{handle}\"}}");
    let mut line = caller.connect();
    let head = caller.head("PATCH", &format!("/api/v1/identities/{handle}"), body.len());
    line.send(head + &body);
    line
}

#[test]
fn bodies_from_one_address_are_bounded_whoever_sends_them() {
    let layer = WireLayer { max_bodies_per_address: Some(1), ..WireLayer::default() };
    let world = World::with_wire(layer);
    let (one, other) = (world.admin(), world.other_admin());
    let awaited = |caller: &Caller| {
        let mut line = caller.connect();
        line.send(caller.head("POST", "/api/v1/identities/", 100));
        line
    };
    // The first four of each key do not count against the address. Of the two that do, either may come first.
    let mut lines: Vec<Line> =
        [&one, &other].into_iter().flat_map(|key| (0..5).map(|_| awaited(key))).collect();
    eventually("one of ten is answered, and nine bodies are awaited", || {
        in_flight(&world) == Some(9.0) && lines.iter().any(|line| !line.is_silent())
    });
    let refused = lines.swap_remove(lines.iter().position(|line| !line.is_silent()).unwrap());
    let answer = refused.until_closed();
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("share_used_up"), "{answer}");
    assert!(lines.iter().all(Line::is_silent));
    // The body arrives together with the head, so it takes no share of bodies.
    other.create("victim");
}

#[test]
fn a_key_and_an_organization_have_their_shares() {
    let world = eight();
    let agents = world.agents(["alpha", "bravo", "carol"]);
    let [alpha, bravo, carol] = &agents;
    let victim = world.other_admin();
    victim.get("/identities/").must_be(200);
    let elsewhere = locked(&world);
    let lines: Vec<_> = [(alpha, "alpha"), (alpha, "alpha"), (bravo, "bravo"), (bravo, "bravo")]
        .into_iter()
        .map(|(agent, handle)| write(agent, handle))
        .collect();
    eventually("the writes wait", || in_flight(&world) == Some(4.0));
    // A request in flight has its share a moment later.
    eventually("the key has no share left", || alpha.get("/identities/alpha").status == 429);
    assert_eq!(refused_for_now(alpha.get("/identities/alpha"), "share_used_up"), 1);
    // An organization has at most half of all requests, whichever keys it uses.
    eventually("the organization has no share left", || carol.get("/identities/carol").status == 429);
    refused_for_now(carol.get("/identities/carol"), "share_used_up");
    victim.get("/identities/").must_be(200);
    world.stranger().raw("GET", "/readyz", b"").must_be(200);
    drop(elsewhere);
    for line in lines {
        assert!(line.until_closed().starts_with("HTTP/1.1 200"));
    }
    alpha.get("/identities/alpha").must_be(200);
}
