//! What a hostile key can take from others. The tests count requests and statements, and do not measure time.

use identityd::settings::{PostgresLayer, WireLayer};
use serde_json::{Map, Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::estate::{Estate, Target, Who};
use super::walk::{self, Operation, STREAM};
use crate::harness::{Caller, Line, World, eventually, text, wait};

/// No error is as long as this, whatever was sent.
const LONGEST_ERROR: usize = 64 * 1024;

/// Eight requests at the same time, of which a key has two; two streams for a key.
fn narrow() -> World {
    World::with_wire(WireLayer {
        max_requests: Some(8),
        max_streams_per_key: Some(2),
        ..WireLayer::default()
    })
}

fn metric(world: &World, is_meant: impl Fn(&str) -> bool) -> f64 {
    let metrics = world.stranger().metrics().0;
    let values = metrics.lines().filter(|line| is_meant(line)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).sum()
}

fn in_flight(world: &World) -> f64 {
    metric(world, |line| line.starts_with("identityd_http_requests_in_flight "))
}

fn answered(world: &World) -> f64 {
    metric(world, |line| line.starts_with("identityd_http_requests_total{"))
}

fn refused(world: &World) -> f64 {
    metric(world, |line| {
        line.starts_with("identityd_http_requests_total{") && line.contains("status=\"429\"")
    })
}

fn is_about(left: f64, right: f64) -> bool {
    (left - right).abs() < 0.5
}

/// Sends the heads of sixteen requests without their bodies, and asserts that others are served meanwhile.
fn hold_bodies_back(world: &World, estate: &Estate, operation: &Operation) {
    let (hostile, victim) = (estate.caller(Who::Admin), estate.caller(Who::OtherAdmin));
    let target = operation.request(&estate.target.names, false).target;
    let before = refused(world);
    let lines: Vec<Line> = (0..16)
        .map(|_| {
            let mut line = hostile.connect();
            line.send(hostile.head(operation.method.as_str(), &target, 100));
            line
        })
        .collect();
    eventually("fourteen heads are refused, and two bodies awaited", || {
        is_about(refused(world), before + 14.0) && is_about(in_flight(world), 2.0)
    });
    victim.create(&format!("victim-{}", walk::next()));
    victim.get("/identities").must_be(200);
    estate.caller(Who::Itself).get("/identities").must_be(200);
    world.stranger().raw("GET", "/readyz", b"").must_be(200);
    drop(lines);
    eventually("the shares are free again", || is_about(in_flight(world), 0.0));
}

#[test]
fn bodies_that_are_held_back_cost_nobody_anything() {
    let world = narrow();
    let estate = Estate::new(&world);
    for operation in walk::writes(&world).iter().filter(|operation| operation.takes_body()) {
        hold_bodies_back(&world, &estate, operation);
    }
}

/// The connections of requests that wait for a lock. Webhooks and probes have connections with other names.
fn waiting(world: &World) -> i64 {
    world.database().number(
        "select count(*) from pg_stat_activity
         where datname = current_database() and application_name = 'identityd' and wait_event_type = 'Lock'",
    )
}

/// Of 8 connections a key uses 2, however many of its requests need one. The others wait for each other.
#[test]
fn requests_that_keep_the_database_busy_leave_others_their_connections() {
    let postgres = PostgresLayer { database_connections: Some(8), ..PostgresLayer::default() };
    let world = World::with_server_of_its_own(&postgres);
    let estate = Estate::new(&world);
    let (hostile, victim) = (estate.caller(Who::Admin), estate.caller(Who::OtherAdmin));
    let mut kept_waiting = 0;
    for operation in &walk::reads(&world) {
        victim.raw("GET", "/api/whoami", b"").must_be(200);
        let mut elsewhere = wait(PgConnection::connect(world.database().owner_url())).unwrap();
        wait(elsewhere.execute(BUSY)).unwrap();
        let target = operation.request(&estate.target.names, false).target;
        let before = answered(&world);
        let lines: Vec<Line> = (0..12)
            .map(|_| {
                let mut line = hostile.connect();
                line.send(hostile.head("GET", &target, 0));
                line
            })
            .collect();
        eventually("every request is answered or waits", || {
            is_about(answered(&world) - before + in_flight(&world), 12.0)
        });
        kept_waiting += i32::from(waiting(&world) > 0);
        // One more looks up what all requests together ask for.
        assert!(waiting(&world) <= 3, "{}: {} connections", operation.id, waiting(&world));
        // It reads the last use of the key, which nobody has locked.
        let served = victim.raw("GET", "/api/whoami", b"");
        assert_eq!(served.status, 200, "{}", operation.id);
        wait(elsewhere.close()).unwrap();
        drop(lines);
        eventually("the requests are over", || is_about(in_flight(&world), 0.0));
    }
    assert!(kept_waiting > 10, "only {kept_waiting} operations read what is locked");
}

/// Locks what most operations read, but nothing that the cache or the signer reads.
const BUSY: &str = "begin; lock table ciphertexts, read_model.identities, read_model.visibility, read_model.vault_secrets, \
                    read_model.vault_access, read_model.webhook_subscriptions in access exclusive mode";

#[test]
fn a_key_that_has_all_its_streams_leaves_others_theirs() {
    let world = narrow();
    let admin = world.admin();
    let viewer = text(&admin.create("viewer")["id"]);
    let of_hostile = Target::new(&admin, &viewer, |_| false);
    let victim = world.new_admin();
    let viewer = text(&victim.create("victim-viewer")["id"]);
    let of_victim = Target::new(&victim, &viewer, |_| false);
    for operation in &walk::streams(&world) {
        let auditor = world.auditor();
        let follow = |caller: &Caller, target: &Target| {
            operation.request(&target.names, false).of(caller).header("Accept", STREAM).open().unwrap()
        };
        let held = [(); 2].map(|()| follow(&auditor, &of_hostile));
        assert_eq!(follow(&auditor, &of_hostile).status(), 429, "{}", operation.id);
        for (caller, target) in [(&admin, &of_hostile), (&victim, &of_victim)] {
            assert_eq!(follow(caller, target).status(), 200, "{}", operation.id);
        }
        drop(held);
    }
}

/// As many unknown members as fit into a body. No operation takes their values.
fn nonsense() -> Value {
    let members = (0..40_000).map(|number| (format!("unknown-{number}"), Value::from("x")));
    members.collect::<Map<_, _>>().into()
}

#[test]
fn no_error_is_longer_than_it_needs_to_be() {
    let world = World::new();
    let estate = Estate::new(&world);
    let nonsense = nonsense();
    for operation in walk::writes(&world).iter().filter(|operation| operation.takes_body()) {
        let mut request = operation.request(&estate.target.names, false);
        request.body = Some(nonsense.clone());
        let answer = request.send(estate.caller(Who::Admin));
        assert!(answer.bytes.len() < LONGEST_ERROR, "{}: {} bytes", operation.id, answer.bytes.len());
    }
}

/// The statement that looks up the last sequences of all followed histories.
const ASKING: &str = "from organization_heads where organization_id = any";

/// How many statements the signer may need for an organization when it reviews all of them, which it does once a minute.
const REVIEW: usize = 20;

/// The last event of the silent organization.
const LAST_WORD: &str = "the-last-word";

/// A follower that has received all events.
fn follower(caller: &Caller, target: &str) -> Line {
    let mut line = caller.connect();
    line.send(caller.head_with("GET", target, "Accept: text/event-stream\r\n"));
    let seen = line.receive_until(LAST_WORD);
    assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
    line
}

#[test]
fn a_thousand_followers_of_a_silent_organization_cost_no_statement_when_another_one_writes() {
    let (many, writes) = (1000, 20);
    let layer = WireLayer {
        max_streams_per_key: Some(many),
        max_streams_per_organization: Some(many),
        max_connections_per_address: Some(many * 2),
        ..WireLayer::default()
    };
    let (tap, world) = World::tapped(layer);
    let silent = world.admin();
    let viewer = text(&silent.create("viewer")["id"]);
    let target = Target::new(&silent, &viewer, |_| false);
    silent.change(&target.names.parameters["agent_handle"], &json!({ "description": LAST_WORD })).ok();
    let victim = world.new_admin();
    let streams = walk::streams(&world);
    let requests = streams.iter().map(|operation| operation.request(&target.names, false));
    let followers: Vec<Line> = requests
        .flat_map(|request| (0..many / streams.len()).map(move |_| request.target.clone()))
        .map(|target| follower(&silent, &target))
        .collect();
    is_signed(&world, &silent);
    let about_the_silent = || {
        let id = world.organization_id().as_bytes();
        let names_it = |values: &[u8]| values.windows(id.len()).any(|window| window == id);
        tap.count(|statement, values| names_it(values) && !statement.contains(ASKING))
    };
    let questions = || tap.count(|statement, _| statement.contains(ASKING));
    let (before, asked) = (about_the_silent(), questions());
    assert!(before > 0 && asked > 0, "nobody has asked anything");
    for _ in 0..writes {
        victim.create(&format!("victim-{}", walk::next()));
    }
    let statements = about_the_silent() - before;
    assert!(statements <= REVIEW, "{statements} statements for {} followers", followers.len());
    let asked = questions() - asked;
    assert!(asked <= 2 * writes, "{asked} questions for {writes} writes");
}

/// Waits until all events are signed, so that the signer has nothing left to do.
fn is_signed(world: &World, admin: &Caller) {
    let events = "select count(*) from events where organization_id =";
    let events = world.database().number(&format!("{events} '{}'", world.organization_id())).to_string();
    eventually("the history is signed", || {
        let checkpoint = admin.get("/log/checkpoint");
        checkpoint.status == 200 && String::from_utf8_lossy(&checkpoint.bytes).lines().nth(1) == Some(&events)
    });
}
