//! Many requests at the same time: each gets the right answer, and the state is consistent afterwards.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::harness::{Answer, Caller, World, eventually, ids, text, wait};

const CROWD: usize = 16;

/// How many clients write, and how many read the past beside them.
const WRITERS_BESIDE_READERS: usize = 4;

/// Runs `act` many times at the same time, and returns the results.
fn at_once<T: Send>(act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let act = &act;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CROWD).map(|number| scope.spawn(move || act(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// Asserts that every identity has all its parts, every part has its identity, and the log has no gap.
#[track_caller]
fn is_consistent(world: &World, admin: &Caller) {
    let identities = admin.identities();
    let owners: BTreeSet<String> = ids(&identities).into_iter().collect();
    let owner_of = |part: &Value| text(&part["agent_identity_id"]);
    assert_eq!(owners.len(), identities.len());
    assert_eq!(admin.tunnels().iter().map(owner_of).collect::<BTreeSet<_>>(), owners);
    assert_eq!(admin.list("/mail/mailboxes").iter().map(owner_of).collect::<BTreeSet<_>>(), owners);
    let numbers: BTreeSet<String> =
        admin.list("/phone/numbers").iter().map(|phone| text(&phone["number"])).collect();
    assert_eq!(numbers.len(), admin.list("/phone/numbers").len(), "a number has two owners");
    for identity in &identities {
        assert_eq!(&admin.identity(&text(&identity["agent_handle"])), identity);
    }
    assert_eq!(world.events(), world.database().number("select coalesce(max(position), 0) from events"));
}

// Scenario 15 and decision D28.
#[test]
fn of_many_creates_of_one_handle_exactly_one_succeeds() {
    let world = World::new();
    let admin = world.admin();
    let free_before = world.free_numbers();
    let answers = at_once(|_| admin.try_create("alpha", json!({"phone_number": {}})));
    assert_eq!((count(&answers, 201), count(&answers, 409)), (1, CROWD - 1));
    for answer in answers.into_iter().filter(|answer| answer.status == 409) {
        answer.handle_unavailable("identities");
    }
    assert_eq!(admin.handles(), ["alpha"]);
    assert_eq!(world.free_numbers(), free_before - 1);
    is_consistent(&world, &admin);
}

#[test]
fn two_organizations_racing_for_one_handle_get_one_identity() {
    let world = World::new();
    let racers = [world.admin(), world.other_admin()];
    let answers = at_once(|number| racers[number % 2].try_create("alpha", json!({})));
    assert_eq!((count(&answers, 201), count(&answers, 409)), (1, CROWD - 1));
    assert_eq!(racers[0].handles().len() + racers[1].handles().len(), 1);
}

#[test]
fn creates_of_different_handles_all_succeed() {
    let world = World::new();
    let admin = world.admin();
    let answers = at_once(|number| admin.try_create(&format!("agent-{number}"), json!({"phone_number": {}})));
    assert_eq!(count(&answers, 201), CROWD);
    assert_eq!(admin.identities().len(), CROWD);
    is_consistent(&world, &admin);
}

/// The lookups that arrive while a query is running are answered by one query.
#[test]
fn those_who_ask_at_the_same_time_are_told_what_each_may_see() {
    let world = World::new();
    let (admin, stranger) = (world.admin(), world.other_admin());
    let [viewer, blind] = world.agents(["viewer", "blind"]);
    admin.create("alpha");
    admin.grant("alpha", &viewer.id).created();
    // A grant and its revocation: `blind` must not be shown what it could see before.
    admin.grant("alpha", &blind.id).created();
    admin.revoke("alpha", &blind.id).no_content();
    stranger.create("bravo");
    let asked = [
        (&admin, "alpha", Some(1)),
        (&stranger, "alpha", None),
        (&*viewer, "alpha", Some(0)),
        (&*blind, "alpha", None),
        (&admin, "bravo", None),
        (&stranger, "bravo", Some(0)),
        (&*blind, "blind", Some(0)),
        (&admin, "nobody", None),
    ];
    // Now the keys are cached, and the requests below look up nothing but an identity.
    for (caller, ..) in asked {
        caller.identities();
    }
    let mut barrier = wait(PgConnection::connect(world.database().url())).unwrap();
    wait(barrier.execute("begin; lock table read_model.identities in access exclusive mode")).unwrap();
    let answers = thread::scope(|scope| {
        let asked = asked.map(|(caller, handle, _)| scope.spawn(|| caller.try_identity(handle)));
        let in_flight = || world.stranger().metrics().value("identityd_http_requests_in_flight");
        eventually("all requests are in flight", || in_flight() == Some(8.0));
        wait(barrier.execute("rollback")).unwrap();
        asked.map(|answer| answer.join().unwrap())
    });
    for ((_, handle, rows), answer) in asked.into_iter().zip(answers) {
        let Some(rows) = rows else {
            assert_eq!(answer.status, 404, "{handle}");
            continue;
        };
        let identity = answer.ok();
        assert_eq!(identity["agent_handle"], json!(handle));
        assert_eq!(identity["access"].as_array().unwrap().len(), rows, "{identity}");
    }
}

// Decision D22.
#[test]
fn those_born_together_are_listed_in_one_order() {
    let world = World::new();
    let admin = world.admin();
    at_once(|number| admin.try_create(&format!("agent-{number}"), json!({})).created());
    let born = |identity: &Value| {
        let at = OffsetDateTime::parse(&text(&identity["created_at"]), &Rfc3339).unwrap();
        (at, text(&identity["id"]))
    };
    let order: Vec<_> = admin.identities().iter().map(born).collect();
    assert!(order.is_sorted_by(|newer, older| newer > older), "{order:?}");
    assert_eq!(admin.identities(), admin.identities());
}

#[test]
fn of_many_renames_to_one_handle_exactly_one_succeeds() {
    let world = World::new();
    let admin = world.admin();
    at_once(|number| admin.try_create(&format!("agent-{number}"), json!({})).created());
    let answers =
        at_once(|number| admin.change(&format!("agent-{number}"), &json!({"agent_handle": "alpha"})));
    assert_eq!((count(&answers, 200), count(&answers, 409)), (1, CROWD - 1));
    assert!(admin.sees("alpha"));
    is_consistent(&world, &admin);
}

#[test]
fn of_many_grants_of_one_viewer_exactly_one_succeeds() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _] = world.agents(["alpha", "bravo"]);
    let answers = at_once(|_| admin.grant("bravo", &alpha.id));
    assert_eq!((count(&answers, 201), count(&answers, 409)), (1, CROWD - 1));
    assert_eq!(admin.viewers("bravo"), [json!(alpha.id)]);
}

#[test]
fn of_many_provisions_exactly_one_succeeds() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let answers = at_once(|_| admin.post("/phone/numbers", &json!({"agent_handle": "alpha"})));
    assert_eq!((count(&answers, 201), count(&answers, 409)), (1, CROWD - 1));
    is_consistent(&world, &admin);
}

#[test]
fn of_many_deletes_exactly_one_succeeds() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let answers = at_once(|_| admin.delete("/identities/alpha"));
    assert_eq!((count(&answers, 204), count(&answers, 404)), (1, CROWD - 1));
    is_consistent(&world, &admin);
}

// Different fields of one identity are changed at the same time: no change is lost, and none is refused.
#[test]
fn changes_of_one_identity_do_not_overwrite_each_other() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let fields = ["display_name", "description"];
    at_once(|number| admin.change("alpha", &json!({fields[number % 2]: format!("by {}", number % 2)})).ok());
    let after = admin.identity("alpha");
    assert_eq!((&after["display_name"], &after["description"]), (&json!("by 0"), &json!("by 1")));
}

// Opening an identity to everybody and granting it to single viewers exclude each other. Whatever happens last, the
// access rows are either the wildcard, or single viewers, or none.
#[test]
fn visibility_is_never_a_mixture() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _, carol] = world.agents(["alpha", "bravo", "carol"]);
    at_once(|number| match number % 4 {
        0 => admin.post("/identities/bravo/access", &json!({})),
        1 => admin.grant("bravo", &alpha.id),
        2 => admin.revoke("bravo", &carol.id),
        _ => admin.grant("bravo", &carol.id),
    });
    let viewers = admin.viewers("bravo");
    let everyone = viewers == [Value::Null];
    let named: BTreeSet<_> = viewers.iter().map(ToString::to_string).collect();
    assert!(everyone || (named.len() == viewers.len() && !viewers.contains(&Value::Null)), "{viewers:?}");
    assert_eq!(alpha.sees("bravo"), everyone || viewers.contains(&json!(alpha.id)));
    assert_eq!(carol.sees("bravo"), everyone || viewers.contains(&json!(carol.id)));
}

/// Creates, changes and deletes identities, on a handle that two threads share.
fn live(admin: &Caller, number: usize) {
    let handle = format!("agent-{}", number / 2);
    let renamed = format!("agent-{}-of-{number}", number / 2);
    let born = admin.try_create(&handle, json!({"phone_number": {"state": "NY"}}));
    assert!(matches!(born.status, 201 | 409), "{born}");
    for change in [json!({"display_name": number.to_string()}), json!({"agent_handle": renamed})] {
        let changed = admin.change(&handle, &change);
        assert!(matches!(changed.status, 200 | 404), "{changed}");
    }
    let opened = admin.post(&format!("/identities/{renamed}/access"), &json!({}));
    assert!(matches!(opened.status, 201 | 404), "{opened}");
    if number.is_multiple_of(4) {
        let deleted = admin.delete(&format!("/identities/{renamed}"));
        assert!(matches!(deleted.status, 204 | 404), "{deleted}");
    }
}

#[test]
fn whole_lives_side_by_side_leave_nothing_half_made() {
    let world = World::new();
    let admin = world.admin();
    at_once(|number| live(&admin, number));
    is_consistent(&world, &admin);
}

#[test]
fn whoever_reads_the_past_keeps_nobody_from_writing() {
    let world = World::new();
    let is_over = AtomicBool::new(false);
    for number in 0..WRITERS_BESIDE_READERS {
        world.admin().create(&format!("agent-{number}"));
    }
    thread::scope(|scope| {
        let (world, is_over) = (&world, &is_over);
        let writers: Vec<_> = (0..WRITERS_BESIDE_READERS)
            .map(|number| {
                scope.spawn(move || {
                    let admin = world.admin();
                    for turn in 0..60 {
                        let wish = json!({ "description": format!("turn {turn}") });
                        admin.change(&format!("agent-{number}"), &wish).ok();
                    }
                })
            })
            .collect();
        for _ in 0..WRITERS_BESIDE_READERS {
            scope.spawn(move || {
                let admin = world.admin();
                while !is_over.load(Ordering::Relaxed) {
                    let moment = world.database().text(
                        "select to_char((clock_timestamp() - interval '1 ms') at time zone 'utc',
                                        'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
                    );
                    admin.get(&format!("/identities/agent-0?as_of={moment}")).ok();
                }
            });
        }
        let ended: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "a write was refused");
    });
}
