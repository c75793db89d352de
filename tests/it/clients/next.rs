//! The newest published Rust client, unmodified: alone, and together with the last one that knows visibility.

use inkbox_next::identities::{IdentityFilterModeOptions, IdentityPhoneNumberCreateOptions, Unset};
use inkbox_next::mail::{FilterMode, MailboxUpdateOptions};
use inkbox_next::phone::{ForwardingTargetType, IncomingCallAction, IncomingCallActionSetOptions};
use inkbox_next::{ApiErrorDetail, InkboxError};

use crate::harness::{Change, World};

const ADDRESS: &str = "sip:desk@voice.example.com";

/// The status with which a call was refused.
#[track_caller]
fn status<T>(result: inkbox_next::Result<T>) -> u16 {
    match result.err().expect("the call fails") {
        InkboxError::Api { status_code, detail, .. } => {
            assert!(!matches!(detail, ApiErrorDetail::Message(text) if text.is_empty()), "nothing is said");
            status_code
        }
        other => panic!("an error of another kind: {other:?}"),
    }
}

fn modes() -> IdentityFilterModeOptions {
    IdentityFilterModeOptions::default()
}

#[test]
fn an_identity_is_created_with_all_that_the_client_knows() {
    let world = World::new();
    let admin = world.admin();
    let phone = IdentityPhoneNumberCreateOptions {
        incoming_call_action: "forward".to_owned(),
        forwarding_target_type: Some(ForwardingTargetType::Sip),
        forwarding_sip_uri: Some(ADDRESS.to_owned()),
        ..IdentityPhoneNumberCreateOptions::default()
    };
    let create = |handle, sharing, phone, claim| {
        let identities = admin.next().identities();
        identities.create_with_contact_sharing_and_imessage_number(
            handle,
            Some("Desk"),
            Unset::Omit,
            Some(true),
            sharing,
            None,
            None,
            phone,
            None,
            claim,
        )
    };
    create("alpha", Some(false), Some(&phone), None).unwrap();
    let found = admin.next().identities().get("alpha").unwrap();
    assert!(!found.contact_sharing_enabled && found.imessage_enabled && !found.whatsapp_configured);
    let phone = found.phone_number.clone().unwrap();
    assert_eq!(
        (phone.forwarding_target_type, phone.country.as_str()),
        (Some(ForwardingTargetType::Sip), "US")
    );
    assert_eq!(phone.forwarding_sip_uri.as_deref(), Some(ADDRESS));
    let claimed = create("bravo", None, None, Some(true));
    assert!(
        matches!(claimed, Err(InkboxError::DedicatedIMessageNumberInventoryPending { .. })),
        "{claimed:?}"
    );
    assert_eq!(status(admin.next().identities().get("bravo")), 404);
}

#[test]
fn modes_by_direction_are_set_and_read_by_whoever_knows_them() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let strict =
        IdentityFilterModeOptions { mail_outbound_filter_mode: Some(FilterMode::Whitelist), ..modes() };
    assert_eq!(status(alpha.next().identities().update_filter_modes("alpha", &strict)), 403);
    admin.next().identities().update_filter_modes("alpha", &strict).unwrap();
    let found = admin.next().identities().get_with_options("alpha").unwrap();
    assert_eq!(found.mail_inbound_filter_mode, FilterMode::Blacklist);
    assert_eq!(found.mail_outbound_filter_mode, FilterMode::Whitelist);
    let mailbox = found.mailbox.unwrap();
    assert_eq!(mailbox.outbound_filter_mode, FilterMode::Whitelist);
    let listed = admin.next().identities().list_with_options().unwrap();
    assert_eq!(listed[0].mail_outbound_filter_mode, FilterMode::Whitelist);
    let slack = IdentityFilterModeOptions { slack_filter_mode: Some(FilterMode::Whitelist), ..modes() };
    assert_eq!(status(admin.next().identities().update_filter_modes("alpha", &slack)), 422);
}

// The old client knows no directions, and the new one reads directions only.
#[test]
fn the_old_client_and_the_new_one_read_what_the_other_wrote() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.provision("alpha");
    let (old, new) = (admin.client(), admin.next().identities());
    Change { phone_filter_mode: Some("whitelist"), ..Change::default() }.apply(old, "alpha").unwrap();
    let read = new.get_with_options("alpha").unwrap();
    assert_eq!(read.phone_inbound_filter_mode, FilterMode::Whitelist);
    assert_eq!(read.phone_outbound_filter_mode, FilterMode::Whitelist);
    assert_eq!(read.imessage_filter_mode, FilterMode::Blacklist);
    let open =
        IdentityFilterModeOptions { phone_outbound_filter_mode: Some(FilterMode::Blacklist), ..modes() };
    new.update_filter_modes("alpha", &open).unwrap();
    let seen = old.identities().get("alpha").unwrap();
    assert_eq!(seen.phone_filter_mode, inkbox::mail::FilterMode::Whitelist);
    let open =
        IdentityFilterModeOptions { phone_inbound_filter_mode: Some(FilterMode::Blacklist), ..modes() };
    new.update_filter_modes("alpha", &open).unwrap();
    let seen = old.identities().get("alpha").unwrap();
    assert_eq!(seen.phone_filter_mode, inkbox::mail::FilterMode::Blacklist);
}

#[test]
fn contact_sharing_and_signatures_are_kept() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    assert!(admin.next().identities().get("alpha").unwrap().contact_sharing_enabled);
    alpha.next().identities().set_contact_sharing_enabled("alpha", false).unwrap();
    assert!(!admin.next().identities().get("alpha").unwrap().contact_sharing_enabled);
    let mailboxes = admin.next().mailboxes();
    let signed = MailboxUpdateOptions {
        signature_html: Unset::Value(Some("<b>Alex</b><br>Pier 3".to_owned())),
        signature_enabled: Some(true),
        ..MailboxUpdateOptions::default()
    };
    mailboxes.update_with_options("alpha@agents.localhost", &signed).unwrap();
    let found = mailboxes.get("alpha@agents.localhost").unwrap();
    assert_eq!(found.signature_text.as_deref(), Some("Alex\nPier 3"));
    assert!(found.signature_enabled);
    let embedded = admin.next().identities().get("alpha").unwrap().mailbox.clone().unwrap();
    assert_eq!(embedded.signature_html.as_deref(), Some("<b>Alex</b><br>Pier 3"));
    let long = MailboxUpdateOptions {
        signature_text: Unset::Value(Some("x".repeat(16_385))),
        ..MailboxUpdateOptions::default()
    };
    assert_eq!(status(mailboxes.update_with_options("alpha@agents.localhost", &long)), 422);
}

#[test]
fn calls_are_forwarded_and_no_longer_forwarded() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let calls = || alpha.next().incoming_call_action();
    assert_eq!(status(calls().get(None)), 404);
    let number = admin.next().phone_numbers().provision("alpha", "local", Some("NY")).unwrap();
    let forward = IncomingCallActionSetOptions {
        forwarding_target_type: Some(Some(ForwardingTargetType::Sip)),
        forwarding_phone_number: Some(None),
        forwarding_sip_uri: Some(Some(ADDRESS.to_owned())),
        ..IncomingCallActionSetOptions::default()
    };
    calls().set_with_options(IncomingCallAction::Forward, forward).unwrap();
    let found = admin.next().phone_numbers().get(&number.id.to_string()).unwrap();
    assert_eq!(
        (found.incoming_call_action.as_str(), found.forwarding_sip_uri.as_deref()),
        ("forward", Some(ADDRESS))
    );
    let of_alpha = admin.next().incoming_call_action().get(Some(&alpha.id)).unwrap();
    assert_eq!(of_alpha.incoming_call_action, IncomingCallAction::Forward);
    assert_eq!(status(admin.next().incoming_call_action().get(None)), 422);
    let bravo = world.agent("bravo");
    assert_eq!(status(bravo.next().incoming_call_action().get(Some(&alpha.id))), 404);
    let id = number.id.to_string();
    let clear = |action| {
        let numbers = admin.next().phone_numbers();
        numbers.update_with_forwarding(&id, action, None, None, None, Some(None), None, None)
    };
    assert_eq!(status(clear(None)), 422);
    assert_eq!(clear(Some(Some("auto_reject"))).unwrap().forwarding_sip_uri, None);
}
