//! Following history live: a follower sees every event once and in order, even if the connection breaks.

use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::blocking::Response;
use serde_json::{Value, json};

use crate::harness::{Caller, TEST_TIMEOUT, World};

/// A client that follows. It remembers the id of the last event between two connections.
#[derive(Default)]
struct Follower {
    last_event_id: Option<String>,
    seen: Vec<Value>,
}

impl Follower {
    /// Connects, and continues after the last event.
    fn connect(&self, caller: &Caller, path: &str) -> BufReader<Response> {
        let call = caller.call(Method::GET, path).header("Accept", "text/event-stream");
        let call = match &self.last_event_id {
            Some(id) => call.header("Last-Event-ID", id),
            None => call,
        };
        let response = call.open().unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        BufReader::new(response)
    }

    /// Reads one event. Returns `false` at the end of the stream.
    fn take(&mut self, stream: &mut BufReader<Response>) -> bool {
        let mut id = None;
        // Heartbeats come for ever.
        let given_up = Instant::now() + TEST_TIMEOUT;
        loop {
            assert!(Instant::now() < given_up, "gave up waiting for an event");
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap() == 0 {
                return false;
            }
            if let Some(given) = line.trim_end().strip_prefix("id: ") {
                id = Some(given.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                self.seen.push(serde_json::from_str(data).unwrap());
                self.last_event_id = Some(id.expect("every event has an id"));
                return true;
            }
        }
    }

    fn take_until(&mut self, stream: &mut BufReader<Response>, sequence: i64) {
        while self.seen.last().is_none_or(|event| event["organization_sequence"] != sequence) {
            assert!(self.take(stream), "the stream ended before event {sequence}");
        }
    }
}

/// A thread that changes an identity until it is told to stop, or the service stops.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start(world: &World, handle: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, admin, path) = (Arc::clone(&stop), world.admin(), format!("/identities/{handle}"));
        let thread = thread::spawn(move || {
            for number in 0.. {
                let change = json!({"display_name": format!("{number}")});
                let answer = admin.call(Method::PATCH, &path).json(&change).open();
                if answer.is_err() || told.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        Self { stop, thread }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn head(world: &World) -> i64 {
    world.database().number("select max(organization_sequence) from events")
}

#[test]
fn a_follower_sees_what_was_and_then_what_comes() {
    let world = World::new();
    let auditor = world.auditor();
    let mut follower = Follower::default();
    let mut stream = follower.connect(&auditor, "/events");
    follower.take_until(&mut stream, 3);
    world.admin().create("alpha");
    follower.take_until(&mut stream, 4);
    assert_eq!(follower.seen, auditor.events(""));
}

#[test]
fn neither_writes_nor_followers_depend_on_notifications() {
    let world = World::new();
    let beside = world.beside();
    let there = beside.holder_of(world.admin_key());
    let (mut here_seen, mut there_seen) = (Follower::default(), Follower::default());
    let mut here = here_seen.connect(&world.admin(), "/events");
    let mut elsewhere = there_seen.connect(&there, "/events");
    let renamed = "alter function pg_catalog.pg_notify(text, text) rename to pg_notify_elsewhere";
    world.database().execute(renamed);
    world.admin().create("alpha");
    for (seen, stream) in [(&mut here_seen, &mut here), (&mut there_seen, &mut elsewhere)] {
        seen.take_until(stream, 3);
    }
    assert_eq!(here_seen.seen, there_seen.seen);
}

#[test]
fn a_follower_may_begin_anywhere_and_follow_one_identity() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.create("bravo");
    let mut follower = Follower::default();
    let mut stream = follower.connect(&admin, "/identities/alpha/events");
    admin.change("bravo", &json!({"display_name": "B"})).ok();
    admin.change("alpha", &json!({"display_name": "A"})).ok();
    follower.take_until(&mut stream, 6);
    assert_eq!(follower.seen, admin.events_of("alpha"));
    let place = super::text(&admin.get("/events?limit=4").ok()["next"]);
    let mut late = Follower::default();
    let mut stream = late.connect(&admin, &format!("/events?after={place}"));
    late.take_until(&mut stream, 6);
    assert_eq!(super::sequences(&late.seen), [5, 6]);
}

const SIGN_OF_LIFE: &str = ": still here";

/// The lines from the beginning of a stream to its first event.
fn before_the_first_event(stream: BufReader<Response>) -> Vec<String> {
    let lines = stream.lines().map(Result::unwrap);
    lines.take_while(|line| !line.starts_with("id: ")).filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_silent_stream_says_that_it_is_still_there() {
    let world = World::with_heartbeat(Duration::from_millis(1));
    let head = world.cursor(head(&world));
    let stream = Follower::default().connect(&world.admin(), &format!("/events?after={head}"));
    let said: Vec<String> =
        stream.lines().map(Result::unwrap).filter(|line| !line.is_empty()).take(4).collect();
    assert_eq!(said, ["retry: 1000", SIGN_OF_LIFE, SIGN_OF_LIFE, SIGN_OF_LIFE]);
}

/// A backup is restored while the service runs.
#[test]
fn a_follower_hears_that_the_history_was_set_back() {
    let world = World::with_heartbeat(Duration::ZERO);
    world.database().back_up();
    world.admin().create("lost");
    let last = world.cursor(head(&world));
    let stream = Follower::default().connect(&world.admin(), &format!("/events?after={last}"));
    world.database().restore();
    assert_eq!(said(stream), ["event: history_changed", "id", "data: {\"code\":\"history_changed\"}"]);
}

/// What a stream says after its opening and its signs of life.
fn said(stream: BufReader<Response>) -> Vec<String> {
    let lines = stream.lines().map(Result::unwrap).filter(|line| !line.is_empty());
    lines.skip_while(|line| line == SIGN_OF_LIFE || line.starts_with("retry")).collect()
}

/// A standby that had not got the last event became the primary, and has another event in its place. More events follow, so the
/// history never seems to be shorter.
#[test]
fn a_follower_hears_that_the_history_is_another_one_although_it_is_not_shorter() {
    let world = World::with_heartbeat(Duration::ZERO);
    let admin = world.admin();
    admin.create("lost");
    let end = world.cursor(head(&world));
    let paths = [
        format!("/events?after={end}"),
        format!("/events?after={end}&event_type=identity.created"),
        format!("/events?after={end}&event_type=identity.deleted"),
        format!("/identities/lost/events?after={end}"),
    ];
    let streams: Vec<_> = paths
        .iter()
        .map(|path| {
            let mut stream = Follower::default().connect(&admin, path);
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            assert_eq!(line, "retry: 1000\n");
            stream
        })
        .collect();
    world.database().execute(
        "do $$
         begin
             set local session_replication_role = replica;
             update events set leaf_hash = sha256(leaf_hash) where position = (select position from log_head);
         end
         $$",
    );
    admin.create("found");
    for (path, stream) in paths.iter().zip(streams) {
        let changed = ["event: history_changed", "id", "data: {\"code\":\"history_changed\"}"];
        assert_eq!(said(stream), changed, "{path}");
    }
}

/// The events that match come after 60,000 that do not, more than are read at a time.
#[test]
fn a_stream_that_looks_for_what_fits_says_that_it_is_still_there() {
    let world = World::with_heartbeat(Duration::ZERO);
    world.admin().create("alpha");
    world.database().lengthen_last_life(60_000);
    world.admin().create("bravo");
    let first = world.cursor(4);
    let path = format!("/events?event_type=identity.created&after={first}");
    let said = before_the_first_event(Follower::default().connect(&world.admin(), &path));
    assert_eq!(said, ["retry: 1000", SIGN_OF_LIFE]);
}

#[test]
fn an_id_that_is_no_cursor_is_refused() {
    let world = World::new();
    let call = world.admin().call(Method::GET, "/events").header("Accept", "text/event-stream");
    call.header("Last-Event-ID", "7").send().invalid_at(&["query", "Last-Event-ID"]);
}

#[test]
fn the_stream_ends_well_when_the_service_stops() {
    let world = World::new();
    let auditor = world.auditor();
    let mut follower = Follower::default();
    let mut stream = follower.connect(&auditor, "/events");
    follower.take_until(&mut stream, 3);
    let stopped = thread::spawn(move || drop(world));
    assert!(!follower.take(&mut stream), "there is an end, and no error");
    stopped.join().unwrap();
}

#[test]
fn a_follower_through_disconnects_and_a_restart_under_writes_sees_each_event_once_in_order() {
    let mut world = World::new();
    let mut follower = Follower::default();
    // A pseudo-random walk with a fixed seed. Only the timing differs between two runs.
    let mut random = 12_345_u32;
    world.admin().create("alpha");
    world.admin().create("bravo");
    for round in 0..2 {
        let writers = ["alpha", "bravo"].map(|handle| Writer::start(&world, handle));
        let auditor = world.auditor();
        for _ in 0..25 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut stream = follower.connect(&auditor, "/events");
            for _ in 0..random >> 28 {
                assert!(follower.take(&mut stream));
            }
        }
        if round == 0 {
            world = world.restarted();
        }
        writers.into_iter().for_each(Writer::end);
    }
    let last = head(&world);
    let mut stream = follower.connect(&world.admin(), "/events");
    follower.take_until(&mut stream, last);
    assert_eq!(super::sequences(&follower.seen), (1..=last).collect::<Vec<_>>());
}
