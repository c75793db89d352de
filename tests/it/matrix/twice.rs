//! A write with an `Idempotency-Key` that reaches two processes is carried out once, and answered with the same answer by both.

use std::thread;

use identityd::settings::WireLayer;

use super::authorization::{due, present_tag};
use super::estate::{Target, Who};
use super::walk::{self, Request, next};
use crate::harness::{Answer, Caller, Tap, World, eventually, text};

/// A part of the statement that looks for the answer to an earlier request with the same key.
const LOOKUP: &str = "from idempotency_records
         where organization_id = $1";

/// An operation that waits for a receiver, so that a process from which answers are kept back takes its database for silent. It is
/// tested in `webhooks::replays`.
const SLOW: &str = "replay_webhook_delivery";

/// Operations whose first answer shows a secret. No other answer does.
const SHOW_A_SECRET: [&str; 4] =
    ["create_api_key", "rotate_api_key", "create_signing_key", "create_log_endpoint"];

/// Sends a write to two processes: the second one looks up the key before the first one has begun, and meets what the first one did.
fn send_to_two(
    tap: &Tap,
    [first, second]: [&Caller; 2],
    request: &Request,
    tag: Option<&str>,
) -> [Answer; 2] {
    let key = format!("key-{}", next());
    let send = |caller: &Caller| {
        let call = request.of(caller).header("Idempotency-Key", &key);
        tag.into_iter().fold(call, |call, tag| call.header("If-Match", tag)).send()
    };
    thread::scope(|scope| {
        let held = tap.hold(LOOKUP);
        let late = scope.spawn(|| send(second));
        eventually("the second process has looked", || held.has_caught_one() || late.is_finished());
        let early = send(first);
        drop(held);
        [early, late.join().unwrap()]
    })
}

#[test]
fn a_write_that_two_processes_are_sent_is_carried_out_once_and_answered_alike() {
    let (tap, world) = World::tapped(WireLayer::default());
    let beside = world.beside();
    let (mut told, mut seen) = (vec![], 0);
    for operation in walk::writes(&world) {
        if due(&operation, Who::Admin) >= 300 || operation.id == SLOW {
            continue;
        }
        let second = world.new_admin();
        let first = beside.at(&second);
        let viewer = text(&second.create(&format!("viewer-{}", next()))["id"]);
        let target = Target::new(&second, &viewer, |code| operation.can_fail_with(code));
        let request = operation.request(&target.names, false);
        let tag = present_tag(&operation, &request, &second);
        let [early, late] = send_to_two(&tap, [&first, &second], &request, tag.as_deref());
        let early = early.must_be(due(&operation, Who::Admin));
        let is_same = late.status == early.status
            && (late.bytes == early.bytes || SHOW_A_SECRET.contains(&operation.id.as_str()));
        if !is_same || !late.headers.contains_key("idempotent-replayed") {
            told.push(format!("{}: {} and then {late}", operation.id, early.status));
        }
        seen += 1;
    }
    assert!(seen > 25, "{seen} writes");
    assert!(told.is_empty(), "{}", told.join("\n"));
}
