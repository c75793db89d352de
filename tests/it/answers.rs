//! A write is answered with the state that it made, even if others write to the same identity at the same time.

use std::thread;

use identityd::settings::WireLayer;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::harness::{Answer, Caller, Tap, World, eventually, text, wait};

/// A write, and whether it has an `Idempotency-Key`.
struct Write<'a> {
    by: &'a Caller,
    method: Method,
    path: String,
    body: Value,
    key: Option<String>,
}

impl Write<'_> {
    fn send(&self) -> Answer {
        let call = self.by.call(self.method.clone(), &self.path);
        match &self.key {
            Some(key) => call.header("Idempotency-Key", key).json(&self.body).send(),
            None => call.json(&self.body).send(),
        }
    }
}

fn write(by: &Caller, method: Method, path: impl Into<String>, body: Value) -> Write<'_> {
    Write { by, method, path: path.into(), body, key: None }
}

/// Gives every second write an `Idempotency-Key`, so that its answer is composed in the transaction.
fn some_repeatable<'a>(writes: impl Iterator<Item = Write<'a>>) -> Vec<Write<'a>> {
    let keyed = |(number, write)| match number % 2 {
        0 => write,
        _ => Write { key: Some(format!("key-{number}")), ..write },
    };
    writes.enumerate().map(keyed).collect()
}

/// A connection that has `log_head` locked, so that nothing is written.
pub(crate) fn held_up(world: &World) -> PgConnection {
    let mut connection = wait(PgConnection::connect(world.database().url())).unwrap();
    for statement in ["begin", "select from log_head for update"] {
        wait(sqlx::query(statement).execute(&mut connection)).unwrap();
    }
    connection
}

/// Sends all writes while nothing can be written, the last one after the others, so that all but the first are
/// committed in one transaction. Their order is not fixed. A refused write has changed nothing.
fn together(world: &World, writes: &[Write<'_>]) -> Vec<Answer> {
    let answers = all_at_once(world, writes);
    for answer in answers.iter().filter(|answer| answer.status >= 300) {
        let caused = "select count(*) from events where metadata ->> 'request_id' =";
        let caused = format!("{caused} '{}'", answer.headers["x-request-id"]);
        assert_eq!(world.database().number(&caused), 0, "{answer}");
    }
    answers
}

fn all_at_once(world: &World, writes: &[Write<'_>]) -> Vec<Answer> {
    let held_up = held_up(world);
    let (last, others) = writes.split_last().unwrap();
    thread::scope(|scope| {
        let mut threads: Vec<_> = others.iter().map(|write| scope.spawn(|| write.send())).collect();
        all_wait(world, others.len());
        threads.push(scope.spawn(|| last.send()));
        all_wait(world, writes.len());
        wait(held_up.close()).unwrap();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Waits until this many requests are being answered, and checks once more, since a request that has just begun does
/// not wait for the committer yet.
pub(crate) fn all_wait(world: &World, number: usize) {
    all_wait_unless(world, number, || false);
}

/// The same, unless something else is the case.
pub(crate) fn all_wait_unless(world: &World, number: usize, is_over: impl Fn() -> bool) {
    #[expect(clippy::cast_precision_loss, reason = "a test has few requests")]
    let expected = number as f64;
    let mut looks = 0;
    eventually("the requests are being answered", || {
        let under_way = world.stranger().metrics().value("identityd_http_requests_in_flight");
        looks += usize::from(under_way >= Some(expected));
        looks == 3 || is_over()
    });
}

/// The body of an identity at the version in the tag of an answer.
fn as_of(admin: &Caller, answer: &Answer) -> Vec<u8> {
    admin.get(&format!("/identities/alpha?as_of=sequence:{}", answer.version())).must_be(200).bytes
}

#[test]
fn the_body_is_of_the_version_in_the_tag() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    let describe = |number: usize| {
        let by: &Caller = if number.is_multiple_of(3) { &alpha } else { &admin };
        write(by, Method::PATCH, "/identities/alpha", json!({ "description": number.to_string() }))
    };
    let answers = together(&world, &some_repeatable((0..12).map(describe)));
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.json()["description"], json!(number.to_string()), "{answer}");
        assert_eq!(answer.bytes, as_of(&admin, answer), "{answer}");
    }
}

#[test]
fn a_write_is_answered_though_its_identity_is_deleted_in_the_same_moment() {
    let world = World::new();
    let admin = world.admin();
    let [_, viewer] = world.agents(["alpha", "viewer"]);
    admin.grant("alpha", &viewer.id).created();
    let describe = |number: usize| {
        write(&admin, Method::PATCH, "/identities/alpha", json!({ "description": number.to_string() }))
    };
    let mut writes: Vec<Write<'_>> = (0..8).map(describe).collect();
    writes.push(write(&admin, Method::DELETE, "/identities/alpha", json!({})));
    let answers = together(&world, &writes);
    let done: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    for answer in done {
        assert_eq!(answer.bytes, as_of(&admin, answer), "{answer}");
    }
}

/// Changes of `alpha`, of who may see it, and of its viewers. It is opened to everybody in between, or not.
fn changes<'a>(admins: [&'a Caller; 2], viewers: &[String], opens: bool) -> Vec<Write<'a>> {
    let [first, _, third, fourth, fifth] = viewers else { panic!("five viewers") };
    let access = "/identities/alpha/access";
    let others = [
        (Method::POST, access.to_owned(), json!({ "viewer_identity_id": third })),
        (Method::DELETE, format!("{access}/{first}"), json!({})),
        (Method::DELETE, "/identities/second".to_owned(), json!({})),
        (Method::POST, access.to_owned(), json!({ "viewer_identity_id": fourth })),
        (Method::POST, access.to_owned(), json!({})),
        (Method::POST, access.to_owned(), json!({})),
        (Method::DELETE, format!("{access}/{fifth}"), json!({})),
    ];
    let mut others = others.into_iter().take(if opens { 7 } else { 4 });
    let mut writes = vec![];
    for number in 0..16 {
        let by = admins[number / 2 % 2];
        let description = json!({ "description": number.to_string() });
        writes.push(write(by, Method::PATCH, "/identities/alpha", description));
        writes.extend(others.next().map(|(method, path, body)| write(by, method, path, body)));
    }
    some_repeatable(writes.into_iter())
}

/// In how many worlds changes are sent until those of who may see the identity come between the others.
const ROUNDS: usize = 10;

/// Sends the changes of two admins, and compares each body with the past. Returns whether somebody changed who may see the identity
/// between two of the others.
fn every_body_is_of_its_own_write(
    world: &World,
    admins: [&Caller; 2],
    opens: bool,
    send: impl Fn(&[Write<'_>]) -> Vec<Answer>,
) -> bool {
    let admin = world.admin();
    let names = ["alpha", "first", "second", "third", "fourth", "fifth"];
    let agents: Vec<String> = world.agents(names).into_iter().map(|agent| agent.id.clone()).collect();
    for viewer in &agents[1..3] {
        admin.grant("alpha", viewer).created();
    }
    let answers = send(&changes(admins, &agents[1..], opens));
    let changed = answers.iter().filter(|answer| answer.status == 200);
    let bodies = changed.map(|answer| {
        assert_eq!(answer.bytes, as_of(&admin, answer), "{answer}");
        answer.json()
    });
    let bodies: Vec<Value> = bodies.collect();
    assert_eq!(bodies.len(), 16);
    bodies.iter().any(|body| body["access"] != bodies[0]["access"])
}

#[test]
fn the_body_shows_who_may_see_the_identity_right_after_the_write() {
    for opens in [false, true] {
        let is_between = (0..ROUNDS).any(|_| {
            let world = World::new();
            let admin = world.admin();
            every_body_is_of_its_own_write(&world, [&admin, &admin], opens, |writes| together(&world, writes))
        });
        assert!(is_between, "nobody wrote in between");
    }
}

#[test]
fn the_body_shows_it_though_another_process_writes_at_the_same_time() {
    let is_between = (0..ROUNDS).any(|_| {
        let world = World::new();
        let beside = world.beside();
        let [here, there] = [world.admin(), beside.holder_of(world.admin_key())];
        every_body_is_of_its_own_write(&world, [&here, &there], false, |writes| {
            thread::scope(|scope| {
                let threads: Vec<_> = writes.iter().map(|write| scope.spawn(|| write.send())).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            })
        })
    });
    assert!(is_between, "nobody wrote in between");
}

/// The statements that load what an identity has, or who may see it, for answers or to fold its events.
fn loads(tap: &Tap) -> usize {
    tap.count(|statement, _| {
        if statement.contains("from identities") {
            statement.contains("tunnel_metadata")
        } else {
            statement.contains("from visibility")
        }
    })
}

#[test]
fn who_may_see_an_identity_costs_no_statement_more() {
    let (tap, world) = World::tapped(WireLayer::default());
    let admin = world.admin();
    let [_, viewer, _] = world.agents(["alpha", "viewer", "bravo"]);
    admin.grant("alpha", &viewer.id).created();
    for number in 0..10 {
        let before = loads(&tap);
        let answer = admin.change("alpha", &json!({ "description": number.to_string() })).ok();
        assert_eq!(answer["access"][0]["viewer_identity_id"], json!(viewer.id));
        assert!(loads(&tap) <= before + 1);
        admin.change("bravo", &json!({ "description": number.to_string() })).ok();
    }
    assert!(loads(&tap) > 0, "no load was counted");
}

#[test]
fn what_an_identity_owns_is_answered_as_each_write_left_it() {
    let world = World::new();
    let admin = world.admin();
    let created = admin.create("alpha");
    let tunnel = format!("/tunnels/{}", text(&created["tunnel"]["id"]));
    let number = format!("/phone/numbers/{}", text(&admin.provision("alpha")["id"]));
    let change = |turn: usize| {
        let mode = if turn.is_multiple_of(2) { "whitelist" } else { "blacklist" };
        match turn % 3 {
            0 => write(&admin, Method::PATCH, tunnel.clone(), json!({ "metadata": { "turn": turn } })),
            1 => write(&admin, Method::PATCH, number.clone(), json!({ "filter_mode": mode })),
            _ => write(&admin, Method::PATCH, "/mail/mailboxes/alpha", json!({ "filter_mode": mode })),
        }
    };
    let mut writes: Vec<Write<'_>> = (0..15).map(change).collect();
    writes.push(write(&admin, Method::DELETE, "/identities/alpha", json!({})));
    let answers = together(&world, &writes);
    for (write, answer) in writes.iter().zip(&answers).filter(|(_, answer)| answer.status == 200) {
        for (name, value) in write.body.as_object().unwrap() {
            assert_eq!(&answer.json()[name], value, "{answer}");
        }
    }
}

#[test]
fn who_opens_what_is_open_is_answered_with_the_row_for_everybody() {
    let world = World::new();
    let admin = world.admin();
    let [_, bravo, _] = world.agents(["alpha", "bravo", "carol"]);
    admin.open("alpha");
    let open = |_| write(&admin, Method::POST, "/identities/alpha/access", json!({}));
    let mut writes = some_repeatable((0..8).map(open));
    let narrow = format!("/identities/alpha/access/{}", bravo.id);
    writes.push(write(&admin, Method::DELETE, narrow, json!({})));
    let answers = together(&world, &writes);
    for answer in answers.iter().take(8) {
        assert_eq!(answer.status, 201, "{answer}");
        assert_eq!(answer.json()["viewer_identity_id"], Value::Null, "{answer}");
    }
}

#[test]
fn what_is_not_kept_by_version_is_answered_from_its_own_event() {
    let world = World::new();
    let admin = world.admin();
    let id = text(&admin.create("alpha")["id"]);
    let path = format!("/vault/secrets/{}/access", text(&admin.register_secret("s")["id"]));
    let mut writes: Vec<Write<'_>> = (0..4)
        .map(|number| {
            let label = json!({ "label": number.to_string(), "scoped_identity_id": id });
            write(&admin, Method::POST, "/api-keys", label)
        })
        .collect();
    writes.push(write(&admin, Method::POST, path.clone(), json!({ "identity_id": id })));
    writes.push(write(&admin, Method::POST, "/vault/secrets", json!({ "name": "t" })));
    writes.push(write(&admin, Method::DELETE, "/identities/alpha", json!({})));
    let answers = together(&world, &some_repeatable(writes.into_iter()));
    for answer in answers.iter().filter(|answer| answer.status >= 300) {
        assert_eq!(answer.json()["code"], "identity_not_found", "{answer}");
    }
}
