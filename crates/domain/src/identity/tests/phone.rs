//! Contract, sections 5 and 6.

use super::*;
use crate::phone::{ForwardingChange, ForwardingTargetType};

fn accepting() -> CallHandling {
    CallHandling {
        incoming_call_action: CallAction::AutoAccept,
        client_websocket_url: Some("wss://desk.example/calls".to_owned()),
        ..CallHandling::default()
    }
}

fn asking() -> CallHandling {
    CallHandling {
        incoming_call_action: CallAction::Webhook,
        client_websocket_url: None,
        incoming_call_webhook_url: Some("https://desk.example/calls".to_owned()),
        ..CallHandling::default()
    }
}

fn no_change() -> PhoneChange {
    PhoneChange {
        phone_number_id: PHONE,
        incoming_call_action: None,
        client_websocket_url: None,
        incoming_call_webhook_url: None,
        forwarding: ForwardingChange::default(),
        filter_mode: None,
    }
}

fn changed(calls: CallHandling) -> Event {
    Event::PhoneChanged { phone_number_id: PHONE, calls }
}

fn with_phone(calls: CallHandling) -> Given<Identity> {
    live([provisioned(calls)])
}

fn provision(calls: CallHandling) -> Command {
    Command::ProvisionPhone(PhoneOrder { calls, ..order() })
}

#[test]
fn the_number_and_its_state_are_those_of_the_pool() {
    for calls in [CallHandling::default(), accepting(), asking()] {
        live([]).with(offered()).when(&provision(calls.clone())).then([provisioned(calls)]);
    }
}

#[test]
fn a_hosted_agent_needs_no_address() {
    let hosted = CallHandling { incoming_call_action: CallAction::HostedAgent, ..CallHandling::default() };
    live([]).with(offered()).when(&provision(hosted.clone())).then([provisioned(hosted)]);
}

#[test]
fn a_number_brings_its_own_filter_mode() {
    let wish = PhoneOrder { filter_mode: Some(FilterMode::Whitelist), ..order() };
    let Event::PhoneProvisioned { phone, .. } = provisioned(CallHandling::default()) else { unreachable!() };
    let event = Event::PhoneProvisioned { phone, filter_mode: FilterMode::Whitelist };
    let back = Update { phone_filter_mode: Some(FilterMode::Blacklist), ..Update::default() };
    live([])
        .with(offered())
        .when(&Command::ProvisionPhone(wish))
        .then([event])
        .when(&Command::Update(Box::new(back)))
        .then([modes_of_phone(FilterMode::Blacklist)]);
}

#[test]
fn an_action_without_the_address_it_needs_is_refused() {
    let accept = CallHandling { client_websocket_url: None, ..accepting() };
    let ask = CallHandling { incoming_call_webhook_url: None, ..asking() };
    for (calls, field) in [(accept, "client_websocket_url"), (ask, "incoming_call_webhook_url")] {
        let missing = IdentityError::CallAddressMissing(field);
        live([]).with(offered()).when(&provision(calls)).then_err(missing);
    }
}

#[test]
fn the_address_of_another_action_does_not_help() {
    let calls = CallHandling { incoming_call_action: CallAction::Webhook, ..accepting() };
    let missing = IdentityError::CallAddressMissing("incoming_call_webhook_url");
    live([]).with(offered()).when(&provision(calls)).then_err(missing);
}

#[test]
fn one_number_is_the_most() {
    with_phone(CallHandling::default())
        .with(offered())
        .when(&provision(CallHandling::default()))
        .then_err(IdentityError::PhoneExists);
}

#[test]
fn an_empty_inventory_is_said() {
    live([]).when(&provision(CallHandling::default())).then_err(IdentityError::NoNumberAvailable);
}

#[test]
fn the_wished_state_is_asked_of_the_pool() {
    let wish = NumberWish { state: Some(UsState::parse("wa").unwrap()) };
    let command = Command::ProvisionPhone(PhoneOrder { wish: wish.clone(), ..order() });
    assert_eq!(Identity::needs(&command), Needs { number: Some(wish), ..Needs::default() });
}

#[test]
fn action_and_address_can_be_changed_together() {
    let change = PhoneChange {
        incoming_call_action: Some(CallAction::AutoAccept),
        client_websocket_url: Some(Some("wss://desk.example/calls".to_owned())),
        ..no_change()
    };
    with_phone(CallHandling::default()).when(&Command::ChangePhone(change)).then([changed(accepting())]);
}

#[test]
fn an_address_that_is_already_there_is_enough_for_a_new_action() {
    let prepared = CallHandling { incoming_call_action: CallAction::AutoReject, ..accepting() };
    let change = PhoneChange { incoming_call_action: Some(CallAction::AutoAccept), ..no_change() };
    with_phone(prepared).when(&Command::ChangePhone(change)).then([changed(accepting())]);
}

#[test]
fn an_address_in_use_cannot_be_cleared() {
    let no_socket = PhoneChange { client_websocket_url: Some(None), ..no_change() };
    with_phone(accepting())
        .when(&Command::ChangePhone(no_socket))
        .then_err(IdentityError::CallAddressMissing("client_websocket_url"));
    let no_webhook = PhoneChange { incoming_call_webhook_url: Some(None), ..no_change() };
    with_phone(asking())
        .when(&Command::ChangePhone(no_webhook))
        .then_err(IdentityError::CallAddressMissing("incoming_call_webhook_url"));
}

#[test]
fn an_address_can_be_cleared_together_with_the_action_that_needs_it() {
    let change = PhoneChange {
        incoming_call_action: Some(CallAction::AutoReject),
        client_websocket_url: Some(None),
        ..no_change()
    };
    with_phone(accepting()).when(&Command::ChangePhone(change)).then([changed(CallHandling::default())]);
}

#[test]
fn a_change_of_action_without_its_address_changes_nothing_else_either() {
    let change = PhoneChange {
        incoming_call_action: Some(CallAction::Webhook),
        filter_mode: Some(FilterMode::Whitelist),
        ..no_change()
    };
    with_phone(CallHandling::default())
        .when(&Command::ChangePhone(change))
        .then_err(IdentityError::CallAddressMissing("incoming_call_webhook_url"));
}

#[test]
fn the_filter_mode_of_the_channel_can_be_changed_at_its_number() {
    let change = PhoneChange { filter_mode: Some(FilterMode::Whitelist), ..no_change() };
    let filter = modes_of_phone(FilterMode::Whitelist);
    with_phone(accepting()).when(&Command::ChangePhone(change)).then([filter]);
}

#[test]
fn a_change_to_what_already_is_comes_to_nothing() {
    let same = PhoneChange {
        incoming_call_action: Some(CallAction::AutoAccept),
        client_websocket_url: Some(accepting().client_websocket_url),
        incoming_call_webhook_url: Some(None),
        filter_mode: Some(FilterMode::Blacklist),
        ..no_change()
    };
    for change in [same, no_change()] {
        with_phone(accepting()).when(&Command::ChangePhone(change)).then_nothing();
    }
}

#[test]
fn a_number_goes_back_and_takes_its_filter_mode_with_it() {
    let strict = modes_of_phone(FilterMode::Whitelist);
    live([provisioned(accepting()), strict])
        .when(&Command::ReleasePhone { phone_number_id: None })
        .then([released()])
        .is(&live([]).into_state());
}

#[test]
fn a_number_can_be_released_by_its_id() {
    let command = Command::ReleasePhone { phone_number_id: Some(PHONE) };
    with_phone(CallHandling::default()).when(&command).then([released()]);
}

#[test]
fn without_a_number_there_is_nothing_to_change_or_to_release() {
    for meant in [None, Some(PHONE)] {
        let release = Command::ReleasePhone { phone_number_id: meant };
        live([]).when(&release).then_err(IdentityError::NoPhone);
        live([provisioned(accepting()), released()]).when(&release).then_err(IdentityError::NoPhone);
    }
    live([]).when(&Command::ChangePhone(no_change())).then_err(IdentityError::NoPhone);
}

#[test]
fn the_number_of_an_earlier_time_is_not_the_present_one() {
    let earlier = Uuid::from_u128(0x70);
    let change = PhoneChange { phone_number_id: earlier, ..no_change() };
    with_phone(accepting()).when(&Command::ChangePhone(change)).then_err(IdentityError::NoPhone);
    let release = Command::ReleasePhone { phone_number_id: Some(earlier) };
    with_phone(accepting()).when(&release).then_err(IdentityError::NoPhone);
}

#[test]
fn after_a_release_another_number_can_be_provisioned() {
    live([provisioned(accepting()), released()])
        .with(offered())
        .when(&provision(CallHandling::default()))
        .then([provisioned(CallHandling::default())]);
}

fn to_number() -> CallHandling {
    CallHandling {
        incoming_call_action: CallAction::Forward,
        forwarding_target_type: Some(ForwardingTargetType::Phone),
        forwarding_phone_number: Some("+12125550199".to_owned()),
        ..CallHandling::default()
    }
}

fn to_address() -> CallHandling {
    CallHandling {
        incoming_call_action: CallAction::Forward,
        forwarding_target_type: Some(ForwardingTargetType::Sip),
        forwarding_sip_uri: Some("sip:desk@voice.example.com".to_owned()),
        ..CallHandling::default()
    }
}

#[test]
fn calls_are_forwarded_to_one_target_of_the_kind_that_is_said() {
    for calls in [to_number(), to_address()] {
        live([]).with(offered()).when(&provision(calls.clone())).then([provisioned(calls)]);
    }
    let both = CallHandling { forwarding_sip_uri: to_address().forwarding_sip_uri, ..to_number() };
    let unclear = IdentityError::ForwardingTargetUnclear("forwarding_sip_uri");
    live([]).with(offered()).when(&provision(both)).then_err(unclear);
    let none = CallHandling { incoming_call_action: CallAction::Forward, ..CallHandling::default() };
    let missing = IdentityError::CallAddressMissing("forwarding_target_type");
    live([]).with(offered()).when(&provision(none)).then_err(missing);
    let unnamed = CallHandling { forwarding_target_type: None, ..to_number() };
    let asleep = CallHandling { incoming_call_action: CallAction::AutoReject, ..unnamed };
    let unclear = IdentityError::ForwardingTargetUnclear("forwarding_target_type");
    live([]).with(offered()).when(&provision(asleep)).then_err(unclear);
}

fn forwarding(forwarding: ForwardingChange) -> PhoneChange {
    PhoneChange { forwarding, ..no_change() }
}

#[test]
fn another_kind_of_target_takes_the_place_of_the_present_one() {
    let change = ForwardingChange {
        target_type: Some(Some(ForwardingTargetType::Sip)),
        sip_uri: Some(to_address().forwarding_sip_uri),
        phone_number: None,
    };
    let command = Command::ChangePhone(forwarding(change));
    with_phone(to_number()).when(&command).then([changed(to_address())]);
}

#[test]
fn a_target_is_cleared_together_with_the_action() {
    let clear = |change: ForwardingChange, action| {
        Command::ChangePhone(PhoneChange { incoming_call_action: action, ..forwarding(change) })
    };
    for change in [
        ForwardingChange { target_type: Some(None), ..ForwardingChange::default() },
        ForwardingChange { phone_number: Some(None), ..ForwardingChange::default() },
    ] {
        let missing = IdentityError::CallAddressMissing("forwarding_target_type");
        with_phone(to_number()).when(&clear(change.clone(), None)).then_err(missing);
        let both = clear(change, Some(CallAction::AutoReject));
        with_phone(to_number()).when(&both).then([changed(CallHandling::default())]);
    }
}

#[test]
fn another_action_keeps_the_target_for_later() {
    let action = PhoneChange { incoming_call_action: Some(CallAction::AutoReject), ..no_change() };
    let kept = CallHandling { incoming_call_action: CallAction::AutoReject, ..to_number() };
    with_phone(to_number()).when(&Command::ChangePhone(action)).then([changed(kept)]);
}

fn split(channel: Channel) -> Event {
    let outbound = FilterMode::Whitelist;
    let modes = ChannelModes { outbound, ..ChannelModes::both(FilterMode::Blacklist) };
    Event::FilterModeChanged { channel, modes }
}

fn modes_of_phone(mode: FilterMode) -> Event {
    Event::FilterModeChanged { channel: Channel::Phone, modes: ChannelModes::both(mode) }
}

// Modes by direction need no number, so a number that comes later must not make them forgotten.
#[test]
fn a_new_number_gets_the_modes_that_were_set_before_it() {
    let [strict, back] = [FilterMode::Whitelist, FilterMode::Blacklist].map(modes_of_phone);
    let with_mode = |filter_mode| match provisioned(CallHandling::default()) {
        Event::PhoneProvisioned { phone, .. } => Event::PhoneProvisioned { phone, filter_mode },
        other => other,
    };
    let command = provision(CallHandling::default());
    let whitelisted = with_mode(FilterMode::Whitelist);
    live([strict]).with(offered()).when(&command).then([whitelisted]);
    let before = [split(Channel::Phone)];
    let kept = [with_mode(FilterMode::Blacklist), split(Channel::Phone)];
    live(before.clone()).with(offered()).when(&command).then(kept);
    let said = PhoneOrder { filter_mode: Some(FilterMode::Blacklist), ..order() };
    let command = Command::ProvisionPhone(said);
    live(before.clone()).with(offered()).when(&command).then([with_mode(FilterMode::Blacklist)]);
    live(before.into_iter().chain([back]))
        .with(offered())
        .when(&command)
        .then([with_mode(FilterMode::Blacklist)]);
}
