//! Many followers of history, which receive nothing for long.

use std::io::Read as _;
use std::time::Instant;

use identityd::settings::WireLayer;
use reqwest::Method;

use super::refused_for_now;
use crate::harness::{Caller, TEST_TIMEOUT, World, eventually};

fn follow(caller: &Caller) -> reqwest::blocking::Response {
    caller.call(Method::GET, "/events").header("Accept", "text/event-stream").open().unwrap()
}

#[test]
fn a_key_and_an_organization_have_so_many_streams() {
    let layer = WireLayer {
        max_streams_per_key: Some(2),
        max_streams_per_organization: Some(3),
        ..WireLayer::default()
    };
    let world = World::with_wire(layer);
    let (hostile, auditor, victim) = (world.admin(), world.auditor(), world.other_admin());
    let mut streams = vec![follow(&hostile), follow(&hostile), follow(&auditor)];
    for caller in [&hostile, &auditor] {
        let call = caller.call(Method::GET, "/events").header("Accept", "text/event-stream");
        assert_eq!(refused_for_now(call.send(), "share_used_up"), 1);
        let lines = caller.call(Method::GET, "/events").header("Accept", "application/x-ndjson");
        refused_for_now(lines.send(), "share_used_up");
        // Pages do not count as streams.
        caller.get("/events").must_be(200);
    }
    assert_eq!(follow(&victim).status(), 200);
    drop(streams.remove(0));
    eventually("the share of a stream that has ended is free", || follow(&hostile).status() == 200);
}

#[test]
fn all_followers_are_told_of_what_happens() {
    let world = World::new();
    let admin = world.admin();
    let mut streams: Vec<_> = (0..20).map(|_| follow(&admin)).collect();
    for handle in ["alpha", "bravo"] {
        admin.create(handle);
        world.other_admin();
        for stream in &mut streams {
            let seen = read_until(stream, handle);
            assert_eq!(seen.matches(&format!("{handle}@")).count(), 1, "{seen}");
        }
    }
}

fn read_until(stream: &mut reqwest::blocking::Response, text: &str) -> String {
    let (mut seen, mut piece) = (String::new(), [0; 4096]);
    // Heartbeats come for ever.
    let given_up = Instant::now() + TEST_TIMEOUT;
    while !(seen.contains(text) && seen.ends_with("\n\n")) {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0 && Instant::now() < given_up, "the stream ended or has no {text}: {seen}");
        seen.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    seen
}
