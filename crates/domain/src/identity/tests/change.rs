//! Contract, sections 3.3 and 7.3.

use super::*;

fn update(update: Update) -> Command {
    Command::Update(Box::new(update))
}

fn rename(to: &str) -> Command {
    update(Update { agent_handle: Some(handle(to)), ..Update::default() })
}

fn renamed(from: &str, to: &str) -> Event {
    Event::Renamed { previous_agent_handle: handle(from), agent_handle: handle(to) }
}

fn filter(channel: Channel, filter_mode: FilterMode) -> Event {
    Event::FilterModeChanged { channel, modes: ChannelModes::both(filter_mode) }
}

/// A change of every field, and the events that it yields, in order.
fn everything() -> (Update, Vec<Event>) {
    let wish = Update {
        agent_handle: Some(handle("front-desk")),
        display_name: Some(Some("Front Desk".to_owned())),
        description: Some(Some("Answers.".to_owned())),
        imessage_enabled: Some(true),
        contact_sharing_enabled: Some(false),
        imessage_filter_mode: Some(FilterMode::Whitelist),
        mail_filter_mode: Some(FilterMode::Whitelist),
        mail_directions: Directions::default(),
        phone_filter_mode: Some(FilterMode::Whitelist),
        phone_directions: Directions::default(),
        signature: SignatureChange { is_enabled: Some(true), ..SignatureChange::default() },
        status: Some(Status::Paused),
    };
    let events = vec![
        renamed("harbor-desk", "front-desk"),
        Event::DisplayNameChanged { display_name: Some("Front Desk".to_owned()) },
        Event::DescriptionChanged { description: Some("Answers.".to_owned()) },
        Event::ImessageChanged { imessage_enabled: true },
        Event::ContactSharingChanged { contact_sharing_enabled: false },
        filter(Channel::Imessage, FilterMode::Whitelist),
        filter(Channel::Mail, FilterMode::Whitelist),
        filter(Channel::Phone, FilterMode::Whitelist),
        Event::MailboxSignatureChanged {
            signature: Signature { signature_enabled: true, ..Signature::default() },
        },
        Event::StatusChanged { status: Status::Paused },
    ];
    (wish, events)
}

#[test]
fn every_field_that_differs_yields_one_event() {
    let (wish, events) = everything();
    live([provisioned(CallHandling::default())]).when(&update(wish)).then(events);
}

#[test]
fn an_update_to_what_already_is_comes_to_nothing() {
    let (wish, events) = everything();
    let history = [provisioned(CallHandling::default())].into_iter().chain(events);
    live(history).when(&update(wish)).then_nothing();
}

#[test]
fn an_update_without_a_field_comes_to_nothing() {
    live([]).when(&update(Update::default())).then_nothing();
}

#[test]
fn a_name_and_a_description_can_be_cleared_and_an_empty_description_is_not_a_cleared_one() {
    let clear = Update { display_name: Some(None), description: Some(None), ..Update::default() };
    let cleared = Event::DisplayNameChanged { display_name: None };
    live([]).when(&update(clear.clone())).then([cleared]);
    let emptied = Event::DescriptionChanged { description: Some(String::new()) };
    let empty = Update { description: Some(Some(String::new())), ..Update::default() };
    live([]).when(&update(empty)).then([emptied.clone()]);
    live([Event::DisplayNameChanged { display_name: None }, emptied])
        .when(&update(clear))
        .then([Event::DescriptionChanged { description: None }]);
}

#[test]
fn a_display_name_does_not_follow_a_rename() {
    live([]).when(&rename("front-desk")).then([renamed("harbor-desk", "front-desk")]);
}

#[test]
fn a_rename_onto_a_taken_or_reserved_name_changes_nothing_at_all() {
    let (wish, _) = everything();
    let taken = IdentityError::HandleUnavailable(Namespace::Tunnels);
    live([provisioned(CallHandling::default())])
        .with(blocked(Namespace::Tunnels))
        .when(&update(wish))
        .then_err(taken);
    live([]).when(&rename("ad-min")).then_err(IdentityError::HandleUnavailable(Namespace::Identities));
}

#[test]
fn a_rename_to_the_present_name_is_no_rename_even_where_the_name_is_blocked() {
    live([]).with(blocked(Namespace::Mail)).when(&rename("harbor-desk")).then_nothing();
}

#[test]
fn a_filter_mode_of_the_phone_needs_a_phone_even_when_it_would_not_change() {
    for mode in [FilterMode::Blacklist, FilterMode::Whitelist] {
        let wish = Update { phone_filter_mode: Some(mode), ..Update::default() };
        live([]).when(&update(wish)).then_err(IdentityError::PhoneFilterWithoutPhone);
    }
}

#[test]
fn filter_modes_are_kept_for_each_channel_by_itself() {
    let back = Update { mail_filter_mode: Some(FilterMode::Blacklist), ..Update::default() };
    live([filter(Channel::Mail, FilterMode::Whitelist), filter(Channel::Imessage, FilterMode::Whitelist)])
        .when(&update(back))
        .then([filter(Channel::Mail, FilterMode::Blacklist)]);
}

fn directed(inbound: Option<FilterMode>, outbound: Option<FilterMode>) -> Directions {
    Directions { inbound, outbound }
}

/// The event by which the directions of a channel get different modes. Before it, both had the default mode.
fn split(channel: Channel, inbound: FilterMode, outbound: FilterMode) -> Event {
    let modes = ChannelModes { shared: FilterMode::Blacklist, inbound, outbound };
    Event::FilterModeChanged { channel, modes }
}

#[test]
fn the_modes_of_mail_are_set_by_direction_or_for_both() {
    use FilterMode::{Blacklist, Whitelist};
    let outbound = Update { mail_directions: directed(None, Some(Whitelist)), ..Update::default() };
    let apart = split(Channel::Mail, Blacklist, Whitelist);
    live([]).when(&update(outbound.clone())).then([apart.clone()]);
    live([apart.clone()]).when(&update(outbound)).then_nothing();
    let inbound = Update { mail_directions: directed(Some(Whitelist), None), ..Update::default() };
    live([apart.clone()]).when(&update(inbound)).then([filter(Channel::Mail, Whitelist)]);
    // The shared mode is that of the last time, and it is no longer that of both directions.
    let shared = Update { mail_filter_mode: Some(Blacklist), ..Update::default() };
    live([apart]).when(&update(shared)).then([filter(Channel::Mail, Blacklist)]);
}

#[test]
fn the_modes_of_the_phone_by_direction_need_no_phone_and_are_those_of_imessage() {
    use FilterMode::{Blacklist, Whitelist};
    let both = Update { phone_directions: directed(Some(Whitelist), Some(Whitelist)), ..Update::default() };
    let events = [filter(Channel::Imessage, Whitelist), filter(Channel::Phone, Whitelist)];
    live([]).when(&update(both.clone())).then(events.clone());
    live(events.clone()).when(&update(both)).then_nothing();
    let outbound = Update { phone_directions: directed(None, Some(Blacklist)), ..Update::default() };
    // Clients without directions go on being shown the last mode of both.
    let modes = ChannelModes { outbound: Blacklist, ..ChannelModes::both(Whitelist) };
    let apart = Event::FilterModeChanged { channel: Channel::Phone, modes };
    live(events).when(&update(outbound)).then([apart]);
}

#[test]
fn a_signature_is_changed_as_a_whole() {
    let html = SignatureChange { html: Some(Some("<b>A</b>".to_owned())), ..SignatureChange::default() };
    let signed = Signature { signature_html: Some("<b>A</b>".to_owned()), ..Signature::default() };
    let first = Event::MailboxSignatureChanged { signature: signed.clone() };
    live([]).when(&update(Update { signature: html, ..Update::default() })).then([first.clone()]);
    let text = SignatureChange { text: Some(Some("A".to_owned())), ..SignatureChange::default() };
    let second = Signature { signature_text: Some("A".to_owned()), ..signed };
    live([first])
        .when(&update(Update { signature: text, ..Update::default() }))
        .then([Event::MailboxSignatureChanged { signature: second }]);
}

#[test]
fn a_paused_identity_can_be_resumed_and_changed() {
    let paused = Event::StatusChanged { status: Status::Paused };
    let resume = Update { status: Some(Status::Active), ..Update::default() };
    live([paused.clone()]).when(&update(resume)).then([Event::StatusChanged { status: Status::Active }]);
    live([paused]).when(&rename("front-desk")).then([renamed("harbor-desk", "front-desk")]);
}

#[test]
fn tunnel_metadata_is_replaced_as_text() {
    let replace = |text: &str| Command::ReplaceTunnelMetadata { metadata: text.to_owned() };
    let changed = |text: &str| Event::TunnelMetadataChanged { metadata: text.to_owned() };
    live([]).when(&replace(r#"{"b":1,"a":2}"#)).then([changed(r#"{"b":1,"a":2}"#)]);
    live([changed(r#"{"b":1,"a":2}"#)]).when(&replace(r#"{"b":1,"a":2}"#)).then_nothing();
    live([changed(r#"{"b":1,"a":2}"#)])
        .when(&replace(r#"{"a":2,"b":1}"#))
        .then([changed(r#"{"a":2,"b":1}"#)]);
}

#[test]
fn the_metadata_of_a_new_tunnel_is_the_empty_object() {
    live([]).when(&Command::ReplaceTunnelMetadata { metadata: "{}".to_owned() }).then_nothing();
}

#[test]
fn a_signing_key_may_be_replaced_by_another() {
    let set = |digest: &str| Command::SetSigningKey { secret_sha256: digest.to_owned() };
    let is_set = |digest: &str| Event::SigningKeySet { secret_sha256: digest.to_owned() };
    live([]).when(&set("first")).then([is_set("first")]).when(&set("second")).then([is_set("second")]);
    live([is_set("first")]).when(&set("first")).then_nothing();
    given([]).when(&set("first")).then_err(IdentityError::NotFound);
}

#[test]
fn a_webhook_brings_a_signing_key_if_there_is_none() {
    let prepare = Command::PrepareWebhooks { secret_sha256: "second".to_owned(), phone_number_id: None };
    let is_set = |digest: &str| Event::SigningKeySet { secret_sha256: digest.to_owned() };
    live([]).when(&prepare).then([is_set("second")]).when(&prepare).then_nothing();
    live([is_set("first")]).when(&prepare).then_nothing();
    given([]).when(&prepare).then_err(IdentityError::NotFound);
    let of_a_number = Command::PrepareWebhooks {
        secret_sha256: "second".to_owned(),
        phone_number_id: Some(Uuid::from_u128(1)),
    };
    live([]).when(&of_a_number).then_err(IdentityError::NoPhone);
}

#[test]
fn only_a_rename_asks_for_a_name() {
    let name = |command| Identity::needs(&command).name;
    assert_eq!(name(rename("front-desk")), Some(handle("front-desk")));
    assert_eq!(name(update(Update::default())), None);
}
