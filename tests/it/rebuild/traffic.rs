//! Rebuilds while others write and read: no request is refused, and no event is lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use identity_projections::rebuild::Report;
use serde_json::json;

use super::words::{LIVE, names, table};
use crate::harness::{Caller, World};

const WRITERS: u64 = 4;
const LIVES: u64 = 40;

/// The writes of one identity.
const WRITES: u64 = 6;

/// Creates an identity, changes it, and deletes or renames it.
fn live(admin: &Caller, writer: u64, life: u64) {
    let handle = format!("agent-{writer}-{life}");
    admin.create(&handle);
    for turn in 0..3 {
        admin.change(&handle, &json!({"description": format!("turn {turn}")})).ok();
    }
    admin.open(&handle);
    if life.is_multiple_of(3) {
        admin.remove(&handle);
    } else {
        admin.change(&handle, &json!({"agent_handle": format!("{handle}-renamed")})).ok();
    }
}

fn read(admin: &Caller) {
    for listed in admin.identities().iter().rev().take(3) {
        let answer = admin.get(&format!("/identities/{}", listed["agent_handle"].as_str().unwrap()));
        assert!(matches!(answer.status, 200 | 404), "{answer}");
    }
    admin.get("/phone/numbers").ok();
}

/// Asserts that the table was made of all events that it folds, up to its position. Those of short histories are not read for
/// stored states, unless they are appended while the table is built.
#[track_caller]
fn is_complete(world: &World, name: &str, report: &Report) {
    assert!(report.pause.is_some(), "{name}");
    let selection = table(name).selection();
    // What a job reads of short lives while it catches up, it reads in vain.
    if selection.min_events > 1 {
        return;
    }
    let (selected, upto) = (selection.condition(), report.position);
    let count = format!("select count(*) from events where {selected} and position <= {upto}");
    assert_eq!(i64::try_from(report.events).unwrap(), world.database().number(&count), "{name}");
}

/// Stops the readers when it is dropped, also if the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn writes_and_reads_go_on_while_read_models_are_rebuilt() {
    let world = World::new();
    let before = world.events();
    let written = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let mut rebuilt = 0;
    std::thread::scope(|scope| {
        let (world, written, over) = (&world, &written, &over);
        let writer = |writer| {
            move || {
                let admin = world.admin();
                for number in 0..LIVES {
                    live(&admin, writer, number);
                    written.fetch_add(WRITES, Ordering::Relaxed);
                }
            }
        };
        let writers: Vec<_> = (0..WRITERS).map(|number| scope.spawn(writer(number))).collect();
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                read(&world.admin());
            }
        });
        let _over = Over(over);
        while writers.iter().any(|writer| !writer.is_finished()) {
            for name in names() {
                is_complete(world, name, &world.rebuild(name, LIVE).unwrap());
                rebuilt += 1;
            }
            assert_eq!(world.verify("identities").unwrap().differences, []);
        }
    });
    assert!(rebuilt >= names().len(), "{rebuilt} rebuilds");
    let events = u64::try_from(world.events() - before).unwrap();
    assert_eq!((events, events), (written.load(Ordering::Relaxed), WRITERS * LIVES * WRITES));
    world.is_clean();
}
