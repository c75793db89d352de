//! A create that fails stores nothing, and does not take the handle.

use inkbox::InkboxError;
use inkbox::identities::{IdentityMailboxCreateOptions, Unset, VaultSecretIds};
use inkbox::imessage::IMessageNumberType;
use serde_json::{Value, json};

use crate::harness::{NOBODY, Refusal, Wish, World};

// Scenario 13.
#[test]
fn an_unknown_secret_stops_the_birth_and_frees_the_handle() {
    let world = World::new();
    let admin = world.admin();
    let secrets = Some(VaultSecretIds::Many(vec![NOBODY.to_owned()]));
    let attempt = Wish { vault_secret_ids: secrets, ..Wish::default() };
    world.stores_nothing(|| attempt.create(admin.client(), "alpha").refused(404));
    assert_eq!(admin.handles(), Vec::<String>::new());
    Wish::default().create(admin.client(), "alpha").unwrap();
}

// Scenario 13. ZZ is well formed, but no state has this code.
#[test]
fn a_missing_phone_number_stops_the_birth_and_frees_the_handle() {
    let world = World::new();
    let admin = world.admin();
    let attempt = || admin.try_create("alpha", json!({"phone_number": {"state": "ZZ"}}));
    world.stores_nothing(|| attempt().refused(404));
    admin.create("alpha");
}

// Decision D25.
#[test]
fn without_any_phone_number_in_the_pool_none_can_be_had() {
    let world = World::new();
    let admin = world.admin();
    world.database().execute("delete from phone_number_pool");
    world.stores_nothing(|| admin.try_create("alpha", json!({"phone_number": {}})).refused(404));
    admin.create("alpha");
    let attempt = || admin.client().phone_numbers().provision("alpha", "local", None);
    world.stores_nothing(|| attempt().refused(404));
}

// If a later part fails, what an earlier part took is given back.
#[test]
fn a_failed_birth_gives_its_phone_number_back() {
    let world = World::new();
    let admin = world.admin();
    let before = world.free_numbers();
    let further = json!({"phone_number": {"state": "NY"}, "vault_secret_ids": [NOBODY]});
    world.stores_nothing(|| admin.try_create("alpha", further).refused(404));
    assert_eq!(world.free_numbers(), before);
}

// Scenario 14.
#[test]
fn on_the_platform_domain_the_local_part_is_the_handle() {
    let world = World::new();
    let admin = world.admin();
    let mailbox = IdentityMailboxCreateOptions {
        email_local_part: Some("somebody-else".to_owned()),
        sending_domain: Unset::Value(None),
    };
    let attempt = Wish { mailbox: Some(mailbox), ..Wish::default() };
    world.stores_nothing(|| attempt.create(admin.client(), "alpha").invalid());
    let wrong = json!({"mailbox": {"email_local_part": "somebody-else"}});
    admin.try_create("alpha", wrong).invalid_at(&["body", "mailbox", "email_local_part"]);
    admin.create("alpha");
}

#[test]
fn only_the_platform_has_a_mail_domain() {
    let world = World::new();
    let wrong = json!({"mailbox": {"sending_domain": "mail.example.com"}});
    let attempt =
        || world.admin().try_create("alpha", wrong).invalid_at(&["body", "mailbox", "sending_domain"]);
    world.stores_nothing(attempt);
}

#[test]
fn each_part_is_refused_at_its_own_place() {
    let world = World::new();
    let admin = world.admin();
    let refused = |further: Value, place: &[&str]| {
        world.stores_nothing(|| admin.try_create("alpha", further).invalid_at(&[&["body"], place].concat()));
    };
    refused(json!({"tunnel": {"tls_mode": "plain"}}), &["tunnel", "tls_mode"]);
    refused(json!({"phone_number": {"type": "toll_free"}}), &["phone_number", "type"]);
    refused(json!({"phone_number": {"state": "New York"}}), &["phone_number", "state"]);
    refused(json!({"phone_number": {"state": "N1"}}), &["phone_number", "state"]);
    refused(
        json!({"phone_number": {"incoming_call_action": "shrug"}}),
        &["phone_number", "incoming_call_action"],
    );
    refused(json!({"phone_number": {"incoming_call_action": "auto_accept"}}), &["phone_number"]);
    refused(json!({"phone_number": {"incoming_call_action": "webhook"}}), &["phone_number"]);
    refused(json!({"phone_number": {"client_websocket_url": "ws://a.example"}}), &["phone_number"]);
    refused(json!({"phone_number": {"incoming_call_webhook_url": "http://a.example"}}), &["phone_number"]);
    refused(json!({"vault_secret_ids": ["nonsense"]}), &["vault_secret_ids"]);
    refused(json!({"vault_secret_ids": "nonsense"}), &["vault_secret_ids"]);
}

#[test]
fn a_display_name_has_at_most_255_characters() {
    let world = World::new();
    let admin = world.admin();
    // Characters, not bytes.
    admin.try_create("alpha", json!({"display_name": "ü".repeat(255)})).created();
    let attempt = || admin.try_create("bravo", json!({"display_name": "ü".repeat(256)}));
    world.stores_nothing(|| attempt().invalid_at(&["body", "display_name"]));
    admin.change("alpha", &json!({"display_name": "x".repeat(256)})).invalid_at(&["body", "display_name"]);
}

// Decision D18.
#[test]
fn a_description_has_at_most_10_000_characters() {
    let world = World::new();
    let admin = world.admin();
    admin.try_create("alpha", json!({"description": "ü".repeat(10_000)})).created();
    let attempt = || admin.try_create("bravo", json!({"description": "ü".repeat(10_001)}));
    world.stores_nothing(|| attempt().invalid_at(&["body", "description"]));
    admin.change("alpha", &json!({"description": "x".repeat(10_001)})).invalid_at(&["body", "description"]);
}

// Decision D24.
#[test]
fn a_dedicated_imessage_number_is_not_in_stock() {
    let world = World::new();
    let admin = world.admin();
    let inbound = Some(IMessageNumberType::DedicatedInbound);
    let identities = admin.client().identities();
    let attempt = || {
        let enabled = Some(true);
        identities.create_with_imessage_number(
            "alpha",
            None,
            Unset::Omit,
            enabled,
            None,
            None,
            None,
            None,
            inbound,
        )
    };
    match world.stores_nothing(attempt) {
        Err(InkboxError::DedicatedIMessageNumberInventoryPending {
            number_type,
            retry_after_header,
            message,
            ..
        }) => {
            assert_eq!(&*number_type, "dedicated_inbound");
            assert!(retry_after_header.is_some());
            assert!(!message.is_empty());
        }
        other => panic!("expected an empty inventory, not {other:?}"),
    }
    admin.create("alpha");
}

#[test]
fn a_dedicated_imessage_number_needs_imessage() {
    let world = World::new();
    let admin = world.admin();
    let off = json!({"imessage_number_type": "dedicated_inbound"});
    world.stores_nothing(|| admin.try_create("alpha", off).invalid_at(&["body"]));
    let unknown = json!({"imessage_enabled": true, "imessage_number_type": "shared"});
    world.stores_nothing(|| admin.try_create("alpha", unknown).invalid_at(&["body", "imessage_number_type"]));
}

// Decision D5.
#[test]
fn an_agent_creates_nobody() {
    let world = World::new();
    let alpha = world.agent("alpha");
    world.stores_nothing(|| Wish::default().create(alpha.client(), "bravo").refused(403));
    // The body of an agent's request is not even read.
    world.stores_nothing(|| alpha.try_create("a--b", json!({"description": 1})).refused(403));
}
