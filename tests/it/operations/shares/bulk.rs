//! Large writes: an organization has a budget of bytes for them. With a budget of one byte a second, a debt lasts as long as a test.

use std::thread;

use identityd::settings::QuotaLayer;
use serde_json::{Value, json};

use super::refused_for_now;
use crate::harness::{Answer, Caller, World, text};

/// More rows than fit into what is free of a write.
const MANY: usize = 100;

fn world() -> World {
    let quotas = QuotaLayer { organization_bulk_bytes_per_second: Some(1), ..QuotaLayer::default() };
    World::with_quotas(&quotas)
}

/// A description of 30 kB.
fn large() -> Value {
    json!({"description": "€".repeat(9_900)})
}

fn open(caller: &Caller, handle: &str) {
    caller.post(&format!("/identities/{handle}/access"), &json!({})).created();
}

/// Replaces the wildcard by a row for each other identity.
fn narrow(caller: &Caller, handle: &str, viewer: &Value) -> Answer {
    caller.delete(&format!("/identities/{handle}/access/{}", text(&viewer["id"])))
}

fn describe_once(caller: &Caller, handle: &str) -> Answer {
    let call = caller.call(reqwest::Method::PATCH, &format!("/identities/{handle}"));
    call.json(&json!({"description": "kept"})).header("Idempotency-Key", "once").send()
}

#[track_caller]
fn refused_for_long(world: &World, write: impl Fn() -> Answer) {
    world.stores_nothing(|| {
        let wait = refused_for_now(write(), "share_used_up");
        assert!(wait > 100, "it is said when the debt is paid: {wait}");
    });
}

#[test]
fn large_writes_wait_and_ordinary_ones_and_other_organizations_do_not() {
    let world = world();
    let (hostile, victim) = (world.admin(), world.other_admin());
    hostile.create("hostile");
    victim.create("victim");
    hostile.change("hostile", &large()).ok();
    refused_for_long(&world, || hostile.change("hostile", &large()));
    hostile.change("hostile", &json!({"description": "ordinary"})).ok();
    hostile.create("another");
    victim.change("victim", &large()).ok();
}

#[test]
fn a_row_for_each_identity_or_secret_counts_although_the_request_is_small() {
    let world = world();
    let (hostile, victim) = (world.admin(), world.other_admin());
    for (caller, handle) in [(&hostile, "hostile"), (&victim, "victim")] {
        for number in 0..MANY {
            caller.post("/vault/secrets", &json!({"name": format!("secret-{number}")})).created();
        }
        caller.try_create(handle, json!({"vault_secret_ids": "*"})).created();
    }
    refused_for_long(&world, || hostile.try_create("second", json!({"vault_secret_ids": "*"})));
    hostile.create("second");
    victim.create("third");
}

#[test]
fn an_identity_that_very_many_may_see_is_expensive_to_make_to_keep_and_to_delete() {
    let world = world();
    let admin = world.admin();
    let viewer = admin.create("viewer");
    for number in 0..MANY {
        admin.create(&format!("identity-{number}"));
    }
    for handle in ["identity-0", "identity-1"] {
        open(&admin, handle);
    }
    narrow(&admin, "identity-0", &viewer).no_content();
    refused_for_long(&world, || narrow(&admin, "identity-1", &viewer));
    // The stored answer would show all rows, and the deletion deletes them.
    refused_for_long(&world, || describe_once(&admin, "identity-0"));
    refused_for_long(&world, || admin.delete("/identities/identity-0"));
    admin.change("identity-0", &json!({"description": "without a key"})).ok();
    admin.delete("/identities/identity-2").no_content();
}

#[test]
fn what_deletes_a_row_for_each_secret_or_viewer_counts_although_it_writes_one_event() {
    let world = world();
    let admin = world.admin();
    let viewer = admin.create("viewer");
    let rules = admin.create("rules");
    for number in 0..MANY {
        admin.create(&format!("identity-{number}"));
        let secret = admin.post("/vault/secrets", &json!({"name": format!("secret-{number}")})).created();
        let access = format!("/vault/secrets/{}/access", text(&secret["id"]));
        admin.post(&access, &json!({"identity_id": rules["id"]})).created();
    }
    open(&admin, "identity-0");
    narrow(&admin, "identity-0", &viewer).no_content();
    refused_for_long(&world, || admin.delete("/identities/rules"));
    refused_for_long(&world, || admin.post("/identities/identity-0/access", &json!({})));
    admin.delete("/identities/identity-1").no_content();
    open(&admin, "identity-2");
}

#[test]
fn writes_of_unknown_size_that_are_small_follow_one_another() {
    let world = world();
    let admin = world.admin();
    let viewer = admin.create("viewer");
    let handles: Vec<String> = (0..8).map(|number| format!("identity-{number}")).collect();
    for handle in &handles {
        admin.create(handle);
        open(&admin, handle);
    }
    thread::scope(|scope| {
        let narrowed = handles.iter().map(|handle| {
            let (admin, viewer) = (&admin, &viewer);
            scope.spawn(move || narrow(admin, handle, viewer))
        });
        narrowed.collect::<Vec<_>>().into_iter().for_each(|narrowed| {
            narrowed.join().unwrap().no_content();
        });
    });
}

#[test]
fn a_refused_write_of_unknown_size_is_not_free() {
    let world = world();
    let admin = world.admin();
    let viewer = admin.create("viewer");
    admin.create("target");
    narrow(&admin, "target", &viewer).refused(404);
    refused_for_long(&world, || narrow(&admin, "target", &viewer));
}
