//! Handles: their form, their one namespace, and how long a name is reserved.

use std::time::Duration;

use inkbox::identities::{BlockingNamespace, HandleUnavailableError};
use serde_json::json;

use crate::harness::{Refusal, Wish, World};

// Scenario 10 and decision D17.
#[test]
fn malformed_handles_are_refused_and_nothing_is_stored() {
    let world = World::new();
    let admin = world.admin();
    let long = "a".repeat(64);
    let wrong = [
        "ab",
        &long,
        "a--b",
        "-ab",
        "ab-",
        "a_b",
        "@@ab",
        "",
        "@",
        "@ab",
        "a b",
        " abc",
        "abc ",
        "a.b",
        "a/b",
        "äbc",
        "abc\n",
        "ABC\u{212a}",
    ];
    for handle in wrong {
        world.stores_nothing(|| Wish::default().create(admin.client(), handle).invalid());
        admin.try_create(handle, json!({})).invalid_at(&["body", "agent_handle"]);
    }
    assert!(admin.identities().is_empty());
}

#[test]
fn handles_at_the_edge_of_the_rules_are_fine() {
    let world = World::new();
    let admin = world.admin();
    let long = "a".repeat(63);
    for (given, kept) in
        [("abc", "abc"), ("a-1", "a-1"), ("007", "007"), (&long, &*long), ("@Q-Q-Q", "q-q-q")]
    {
        assert_eq!(Wish::default().create(admin.client(), given).unwrap().agent_handle, kept);
    }
}

// Scenario 11.
#[test]
fn a_handle_is_taken_for_the_whole_service() {
    let world = World::new();
    world.admin().create("sales-agent");
    for admin in [world.admin(), world.other_admin()] {
        for spelling in ["sales-agent", "@Sales-Agent"] {
            let attempt = || Wish::default().create(admin.client(), spelling);
            world.stores_nothing(|| attempt().handle_unavailable(BlockingNamespace::Identities));
        }
        admin.try_create("sales-agent", json!({})).handle_unavailable("identities");
    }
}

// Scenario 12: reserved handles are compared without hyphens.
#[test]
fn some_handles_nobody_may_have() {
    let world = World::new();
    let admin = world.admin();
    let words = ["api", "www", "mail", "admin", "support", "ad-min", "w-w-w", "identityd", "a2a"];
    let looked_for = ["openpgpkey", "ua-auto-config", "msoid", "lyncdiscover", "undisclosed-recipients"];
    let numbered = ["mx1", "mx-20", "ns007", "mta9", "smtp-3", "imap4", "pop3", "mail12", "www-2", "dns53"];
    for reserved in [&words[..], &looked_for, &numbered].concat() {
        let attempt =
            || Wish::default().create(admin.client(), reserved).expect_err("the handle is reserved");
        let error = world.stores_nothing(attempt);
        assert!(
            HandleUnavailableError::from_error(&error)
                .is_some_and(|typed| typed.blocking_namespace.is_some())
        );
    }
    for free in ["admin-of-something", "mx1-desk", "4-mail", "news-desk-1"] {
        admin.create(free);
    }
}

// Decision D2, with the default hold.
#[test]
fn after_a_rename_only_its_former_owner_may_have_the_old_name() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.create("bravo");
    admin.change("alpha", &json!({"agent_handle": "alpha-2"})).ok();
    world.stores_nothing(|| admin.try_create("alpha", json!({})).handle_unavailable("identities"));
    let other = world.other_admin();
    world.stores_nothing(|| other.try_create("alpha", json!({})).handle_unavailable("identities"));
    let taking = || admin.change("bravo", &json!({"agent_handle": "alpha"}));
    world.stores_nothing(|| taking().handle_unavailable("identities"));
    assert_eq!(admin.change("alpha-2", &json!({"agent_handle": "alpha"})).ok()["agent_handle"], "alpha");
}

// Decision D2: a name that its owner takes back is not reserved any more, and the name that it leaves is.
#[test]
fn a_name_taken_back_leaves_the_other_one_reserved() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    for next in [("alpha", "alpha-2"), ("alpha-2", "alpha")] {
        admin.change(next.0, &json!({"agent_handle": next.1})).ok();
    }
    world.stores_nothing(|| admin.try_create("alpha-2", json!({})).handle_unavailable("identities"));
    admin.change("alpha", &json!({"agent_handle": "alpha-2"})).ok();
}

// Decision D2: every name that a deleted identity ever had is reserved.
#[test]
fn all_names_of_the_deleted_stay_reserved() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.change("alpha", &json!({"agent_handle": "alpha-2"})).ok();
    admin.remove("alpha-2");
    for name in ["alpha", "alpha-2"] {
        world.stores_nothing(|| admin.try_create(name, json!({})).handle_unavailable("identities"));
    }
}

// Decision D2 with a hold of zero.
#[test]
fn without_a_hold_the_handle_of_the_deleted_is_free_at_once() {
    let world = World::with_name_hold(Duration::ZERO);
    let admin = world.admin();
    let first = admin.create("alpha");
    admin.remove("alpha");
    let second = Wish::default().create(admin.client(), "alpha").unwrap();
    assert_ne!(first["id"], second.id.to_string());
    assert_eq!(second.email_address.as_deref(), Some("alpha@agents.localhost"));
    admin.remove("alpha");
    world.other_admin().create("alpha");
}

// Decision D10: the mailbox keeps its address, so the old name is taken as a local part.
#[test]
fn without_a_hold_the_old_name_is_still_an_address() {
    let world = World::with_name_hold(Duration::ZERO);
    let admin = world.admin();
    admin.create("alpha");
    admin.create("bravo");
    admin.change("alpha", &json!({"agent_handle": "alpha-2"})).ok();
    for caller in [world.admin(), world.other_admin()] {
        let attempt = || caller.client().create_identity("alpha");
        world.stores_nothing(|| attempt().handle_unavailable(BlockingNamespace::Mail));
    }
    let taking = || admin.change("bravo", &json!({"agent_handle": "alpha"}));
    world.stores_nothing(|| taking().handle_unavailable("mail"));
    admin.change("alpha-2", &json!({"agent_handle": "alpha"})).ok();
    admin.create("alpha-2");
}

// Decision D10: the address of a deleted identity is free, too.
#[test]
fn without_a_hold_a_deleted_identity_frees_name_and_address() {
    let world = World::with_name_hold(Duration::ZERO);
    let admin = world.admin();
    admin.create("alpha");
    admin.change("alpha", &json!({"agent_handle": "alpha-2"})).ok();
    admin.remove("alpha-2");
    for name in ["alpha", "alpha-2"] {
        assert_eq!(admin.create(name)["email_address"], format!("{name}@agents.localhost"));
    }
}
