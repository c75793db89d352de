//! An agent may read an identity that it sees, but not change it. Access rows are for admins only.

use serde_json::json;

use crate::harness::{Caller, Refusal, World};

// Scenario 35 and decision D7: refused before anything is looked up, so the answer reveals nothing.
#[test]
fn an_agent_has_no_say_in_visibility_not_even_its_own() {
    let world = World::new();
    let [alpha, bravo, _] = world.agents(["alpha", "bravo", "carol"]);
    world.admin().open("bravo");
    let identities = alpha.client().identities();
    for target in ["alpha", "bravo", "carol", "nobody"] {
        identities.list_access(target).refused(403);
        world.stores_nothing(|| identities.grant_access(target, Some(&bravo.id)).refused(403));
        world.stores_nothing(|| identities.grant_access(target, None).refused(403));
        world.stores_nothing(|| identities.revoke_access(target, &bravo.id).refused(403));
    }
    alpha.delete("/identities/alpha/access/nonsense").refused(403);
}

// Scenario 37 and decision D6.
#[test]
fn what_is_visible_cannot_be_written() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let admin = world.admin();
    admin.create("bravo");
    admin.grant("bravo", &alpha.id).created();
    let before = admin.identity("bravo");
    for change in [json!({}), json!({"display_name": "mine"}), json!({"agent_handle": "mine"})] {
        world.stores_nothing(|| alpha.change("bravo", &change).refused(403));
    }
    world.stores_nothing(|| alpha.client().identities().delete("bravo").refused(403));
    assert_eq!(admin.identity("bravo"), before);
}

#[test]
fn what_is_invisible_cannot_be_written_either_and_does_not_exist() {
    let world = World::new();
    let alpha = world.agent("alpha");
    world.admin().create("bravo");
    let change = |handle: &str| alpha.change(handle, &json!({"display_name": "mine"}));
    world.stores_nothing(|| change("bravo").refused(404));
    world.stores_nothing(|| alpha.client().identities().delete("bravo").refused(404));
    assert_eq!(change("bravo").without_request_id(), change("nobody").without_request_id());
}

// Section 3.2: all get the same body, so the answer does not reveal what exists.
#[test]
fn the_invisible_the_foreign_the_deleted_and_the_unborn_look_alike() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    admin.create("invisible");
    admin.create("deleted");
    admin.remove("deleted");
    world.other_admin().create("foreign");
    let seen_by = |caller: &Caller, handle: &str| {
        let answer = caller.try_identity(handle).must_be(404);
        (answer.headers["content-type"].clone(), answer.without_request_id())
    };
    for hidden in ["invisible", "deleted", "foreign", "UNBORN", "a_b", "a%2fb"] {
        assert_eq!(seen_by(&alpha, hidden), seen_by(&alpha, "unborn"), "{hidden}");
    }
    for hidden in ["deleted", "foreign", "x"] {
        assert_eq!(seen_by(&admin, hidden), seen_by(&admin, "unborn"), "{hidden}");
    }
}

#[test]
fn an_admin_sees_everyone_whatever_the_grants() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _] = world.agents(["alpha", "bravo"]);
    admin.grant("bravo", &alpha.id).created();
    assert!(admin.sees("alpha") && admin.sees("bravo"));
}
