//! No answer to a write is read from history, whatever others write to the same identity at the same moment.

use std::thread;

use identityd::settings::WireLayer;
use serde_json::json;
use sqlx::Connection as _;

use super::authorization::due;
use super::estate::{Target, Who};
use super::walk::{self, Operation, next};
use crate::answers::{all_wait, all_wait_unless, held_up};
use crate::harness::{Answer, Caller, Tap, World, text, wait};

/// The beginnings of paths of operations that write to identities, and the ends of some others.
const RESOURCES: [&str; 6] =
    ["identities", "phone", "tunnels", "mail", "signing-keys", "webhooks/subscriptions"];
const ACCESS: [&str; 2] = ["/access", "/access/{identity_id}"];

/// Parts of statements that read events for something else than an answer.
const OTHER_READERS: [&str; 13] = [
    // The committer, to decide.
    "as wanted (wanted_type, wanted_id, seen)",
    // The cache, which learns what others have written.
    "case when event_type = 'identity.deleted' then organization_id end",
    "as last_leaf",
    // The signer, and the service when it starts.
    "leaf_hash, seal",
    "substring(leaf_hash for 6), seal",
    "min(organization_sequence) from events",
    "with recursive organization (id)",
    "min(position) from events where seal is not null",
    "max(position), 0) from events",
    // What is found before a write: the version of a vault secret or a webhook subscription.
    "as versions",
    // Webhooks.
    "from events where position = any($1)",
    "select position, organization_id, event_type from events",
    "select aggregate_type from events where position > $1 limit $2",
];

fn writes_to_identities(operation: &Operation) -> bool {
    let path = operation.path.trim_start_matches("/api/v1/");
    RESOURCES.iter().any(|resource| path.starts_with(resource))
        || ACCESS.iter().any(|end| path.ends_with(end))
}

/// How many statements have read events, or stored states of identities, for an answer.
fn reads_of_history(tap: &Tap) -> usize {
    tap.count(|statement, _| {
        let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        let reads = ["from events", "join events", "identity_states"].iter().any(|of| statement.contains(of));
        reads
            && !statement.starts_with("with turn as")
            && !OTHER_READERS.iter().any(|one| statement.contains(one))
    })
}

/// Sends a write, and after it a grant on the target of the write, so that both are committed in one transaction. The first write
/// waits for the lock alone.
fn overtaken(world: &World, write: impl Fn() -> Answer + Send, grant: impl Fn() -> Answer + Send) -> Answer {
    let admin = world.admin();
    let other = text(&admin.create(&format!("other-{}", next()))["agent_handle"]);
    let held_up = held_up(world);
    thread::scope(|scope| {
        let first = scope.spawn(|| admin.change(&other, &json!({ "description": "first" })));
        all_wait(world, 1);
        let write = scope.spawn(write);
        all_wait_unless(world, 2, || write.is_finished());
        let grant = scope.spawn(grant);
        all_wait_unless(world, 3, || write.is_finished() || grant.is_finished());
        wait(held_up.close()).unwrap();
        first.join().unwrap().ok();
        grant.join().unwrap();
        write.join().unwrap()
    })
}

/// Carries out an operation while another request lets a further agent see the target.
fn carry_out(world: &World, operation: &Operation, who: Who, key: Option<&str>) {
    let admin = world.new_admin();
    let [viewer, further] = [(); 2].map(|()| text(&admin.create(&format!("viewer-{}", next()))["id"]));
    let target = Target::without_deliveries(&admin, &viewer, |code| operation.can_fail_with(code));
    let own: Caller;
    let caller = if who == Who::Admin {
        &admin
    } else {
        own = world.holder_of(&target.key);
        &own
    };
    let request = operation.request(&target.names, false);
    let write = || match key {
        Some(key) => request.of(caller).header("Idempotency-Key", key).send(),
        None => request.send(caller),
    };
    let handle = &target.names.parameters["agent_handle"];
    overtaken(world, write, || admin.grant(handle, &further)).must_be(due(operation, who));
}

#[test]
fn no_answer_to_a_write_is_read_from_history() {
    let (tap, world) = World::tapped(WireLayer::default());
    world.admin().create("alpha");
    let before = reads_of_history(&tap);
    world.admin().get("/identities/alpha?as_of=sequence:1").must_be(200);
    assert!(reads_of_history(&tap) > before, "a read of history is not counted");
    let (mut read_for, mut seen) = (vec![], 0);
    let operations = walk::writes(&world);
    for operation in operations.iter().filter(|operation| writes_to_identities(operation)) {
        let is_admitted = |who: &Who| operation.scopes().unwrap().contains(&who.scope().unwrap());
        for who in [Who::Admin, Who::Itself].into_iter().filter(is_admitted) {
            for key in [None, Some(format!("key-{}", next()))] {
                let before = reads_of_history(&tap);
                carry_out(&world, operation, who, key.as_deref());
                seen += 1;
                if reads_of_history(&tap) > before {
                    read_for.push((&operation.id, who, key));
                }
            }
        }
    }
    assert!(seen > 40, "{seen} writes");
    assert!(read_for.is_empty(), "{read_for:?}");
}
