//! The body of a created identity.

use inkbox::identities::{IdentityPhoneNumberCreateOptions, IdentityTunnelCreateOptions, Unset};
use inkbox::mail::FilterMode;
use inkbox::tunnels::{TLSMode, TunnelStatus, TunnelStatusValue};
use serde_json::json;

use crate::harness::{Wish, World};

// Scenario 4.
#[test]
fn a_new_identity_has_the_folded_handle_and_every_default() {
    let world = World::new();
    let created = Wish::default().create(world.admin().client(), "@Sales-Agent").unwrap();
    assert_eq!(created.agent_handle, "sales-agent");
    assert_eq!(created.display_name.as_deref(), Some("sales-agent"));
    assert_eq!(created.description, None);
    assert!(!created.imessage_enabled);
    assert!(!created.signing_key_configured);
    let modes = [created.imessage_filter_mode, created.mail_filter_mode, created.phone_filter_mode];
    assert_eq!(modes, [FilterMode::Blacklist; 3]);
    assert_eq!(created.organization_id, world.organization_id());
}

// Scenario 5.
#[test]
fn a_new_identity_owns_a_mailbox_and_a_tunnel_and_nothing_else() {
    let world = World::new();
    let created = Wish::default().create(world.admin().client(), "sales-agent").unwrap();
    let mailbox = created.mailbox.clone().unwrap();
    assert_eq!(mailbox.email_address, "sales-agent@agents.localhost");
    assert_eq!(created.email_address.as_deref(), Some("sales-agent@agents.localhost"));
    assert_eq!(mailbox.sending_domain, "agents.localhost");
    assert_eq!(mailbox.agent_identity_id, Some(created.id));
    let tunnel = created.tunnel.clone().unwrap();
    assert_eq!(tunnel.tunnel_name, "sales-agent");
    assert_eq!(tunnel.public_host, "sales-agent.tunnels.localhost");
    assert_eq!(
        (tunnel.tls_mode, tunnel.status),
        (TLSMode::Edge, TunnelStatusValue::Known(TunnelStatus::Active))
    );
    assert!(created.phone_number.is_none());
    assert!(created.imessage_number.is_none());
    assert!(created.access.is_empty());
}

// Decision D29: a write can be read at once, and the body is the same.
#[test]
fn what_create_answers_is_what_get_and_list_answer() {
    let world = World::new();
    let admin = world.admin();
    let created = admin.create("sales-agent");
    assert_eq!(admin.identity("sales-agent"), created);
    assert_eq!(admin.identities(), [created]);
}

// Scenario 6.
#[test]
fn an_empty_description_is_a_description() {
    let world = World::new();
    let admin = world.admin();
    let wish = Wish { description: Unset::Value(Some(String::new())), ..Wish::default() };
    wish.create(admin.client(), "alpha").unwrap();
    assert_eq!(admin.client().get_identity("alpha").unwrap().description().as_deref(), Some(""));
}

#[test]
fn description_and_display_name_are_kept_to_the_letter() {
    let world = World::new();
    let admin = world.admin();
    let description = "  Grüße 🛶 \"quoted\" \\ and\nnew lines  ";
    let created =
        admin.try_create("alpha", json!({"display_name": " Ålpha ", "description": description})).created();
    assert_eq!(created["display_name"], " Ålpha ");
    assert_eq!(created["description"], description);
    assert_eq!(admin.identity("alpha"), created);
}

#[test]
fn a_null_display_name_is_an_omitted_one() {
    let world = World::new();
    let created =
        world.admin().try_create("alpha", json!({"display_name": null, "description": null})).created();
    assert_eq!(created["display_name"], "alpha");
    assert_eq!(created["description"], json!(null));
}

// Scenario 7. Decision D16: unknown fields belong to newer versions, and are ignored.
#[test]
fn empty_parts_and_unknown_fields_are_as_good_as_none() {
    let world = World::new();
    let admin = world.admin();
    let created = admin.try_create("alpha", json!({"mailbox": {}, "tunnel": {}})).created();
    assert_eq!(created["email_address"], "alpha@agents.localhost");
    let unknown =
        json!({"status": "paused", "favourite_colour": {"deep": [1]}, "organization_id": "org_of_mine"});
    let created = admin.try_create("bravo", unknown).created();
    assert_eq!(created["status"], "active");
    assert_eq!(created["organization_id"], world.organization_id());
}

// Scenario 8.
#[test]
fn a_passthrough_tunnel_waits_for_its_certificate() {
    let world = World::new();
    let tunnel = Some(IdentityTunnelCreateOptions { tls_mode: Some("passthrough".to_owned()) });
    let created = Wish { tunnel, ..Wish::default() }.create(world.admin().client(), "alpha").unwrap();
    let tunnel = created.tunnel.clone().unwrap();
    assert_eq!(tunnel.tls_mode, TLSMode::Passthrough);
    assert_eq!(tunnel.status, TunnelStatusValue::Known(TunnelStatus::AwaitingCert));
}

// Scenario 9, as the Python and Rust clients send it.
#[test]
fn a_phone_number_may_be_born_with_the_identity() {
    let world = World::new();
    let options = IdentityPhoneNumberCreateOptions { state: Some("NY".to_owned()), ..Default::default() };
    let wish = Wish { phone_number: Some(options), ..Wish::default() };
    let created = wish.create(world.admin().client(), "alpha").unwrap();
    let phone = created.phone_number.clone().unwrap();
    assert_eq!((phone.r#type.as_str(), phone.status.as_str()), ("local", "active"));
    assert_eq!(phone.incoming_call_action, "auto_reject");
    assert_eq!(phone.state.as_deref(), Some("NY"));
    assert_eq!(phone.agent_identity_id, Some(created.id));
}

// Scenario 9, as the TypeScript client sends it.
#[test]
fn a_phone_number_may_be_asked_for_in_few_words() {
    let world = World::new();
    let admin = world.admin();
    let sparse = admin.try_create("alpha", json!({"phone_number": {"state": "ny"}})).created();
    assert_eq!(sparse["phone_number"]["state"], "NY");
    assert_eq!(sparse["phone_number"]["incoming_call_action"], "auto_reject");
    let sparser = admin.try_create("bravo", json!({"phone_number": {}})).created();
    assert_eq!(sparser["phone_number"]["type"], "local");
}

#[test]
fn calls_are_routed_from_birth_on() {
    let world = World::new();
    let options = IdentityPhoneNumberCreateOptions {
        incoming_call_action: "auto_accept".to_owned(),
        client_websocket_url: Some("wss://calls.example/alpha".to_owned()),
        ..Default::default()
    };
    let wish = Wish { phone_number: Some(options), ..Wish::default() };
    let phone = wish.create(world.admin().client(), "alpha").unwrap().phone_number.clone().unwrap();
    assert_eq!(phone.incoming_call_action, "auto_accept");
    assert_eq!(phone.client_websocket_url.as_deref(), Some("wss://calls.example/alpha"));
    assert_eq!(phone.incoming_call_webhook_url, None);
}

#[test]
fn imessage_may_be_switched_on_from_birth_on() {
    let world = World::new();
    let wish = Wish { imessage_enabled: Some(true), ..Wish::default() };
    assert!(wish.create(world.admin().client(), "alpha").unwrap().imessage_enabled);
}

#[test]
fn a_mailbox_may_be_asked_for_where_it_would_be_anyway() {
    let world = World::new();
    let admin = world.admin();
    let same = json!({"mailbox": {"email_local_part": "alpha", "sending_domain": null}});
    assert_eq!(admin.try_create("alpha", same).created()["email_address"], "alpha@agents.localhost");
    let same = json!({"mailbox": {"sending_domain": "agents.localhost"}});
    assert_eq!(admin.try_create("bravo", same).created()["email_address"], "bravo@agents.localhost");
}
