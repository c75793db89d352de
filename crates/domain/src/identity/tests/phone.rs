//! Contract, sections 5 and 6.

use super::*;

fn accepting() -> CallHandling {
    CallHandling {
        incoming_call_action: CallAction::AutoAccept,
        client_websocket_url: Some("wss://desk.example/calls".to_owned()),
        incoming_call_webhook_url: None,
    }
}

fn asking() -> CallHandling {
    CallHandling {
        incoming_call_action: CallAction::Webhook,
        client_websocket_url: None,
        incoming_call_webhook_url: Some("https://desk.example/calls".to_owned()),
    }
}

fn no_change() -> PhoneChange {
    PhoneChange {
        phone_number_id: PHONE,
        incoming_call_action: None,
        client_websocket_url: None,
        incoming_call_webhook_url: None,
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
fn the_number_and_its_state_are_the_carriers() {
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
    let wish = PhoneOrder { filter_mode: FilterMode::Whitelist, ..order() };
    let Event::PhoneProvisioned { phone, .. } = provisioned(CallHandling::default()) else { unreachable!() };
    let event = Event::PhoneProvisioned { phone, filter_mode: FilterMode::Whitelist };
    let back = Update { phone_filter_mode: Some(FilterMode::Blacklist), ..Update::default() };
    live([])
        .with(offered())
        .when(&Command::ProvisionPhone(wish))
        .then([event])
        .when(&Command::Update(Box::new(back)))
        .then([Event::FilterModeChanged { channel: Channel::Phone, filter_mode: FilterMode::Blacklist }]);
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
fn the_wished_state_is_asked_of_the_carrier() {
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
    let filter = Event::FilterModeChanged { channel: Channel::Phone, filter_mode: FilterMode::Whitelist };
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
    let strict = Event::FilterModeChanged { channel: Channel::Phone, filter_mode: FilterMode::Whitelist };
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
