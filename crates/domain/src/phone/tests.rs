use super::*;

#[test]
fn a_state_is_two_letters_of_either_case() {
    for text in ["NY", "ny", "Ny"] {
        assert_eq!(UsState::parse(text).unwrap().to_string(), "NY");
    }
    for text in ["", "N", "NYC", "N1", " N", "ñ", "ÑY", "🗽"] {
        assert_eq!(UsState::parse(text), Err(StateError), "{text:?}");
    }
}

#[test]
fn a_state_is_stored_as_its_two_letters_and_nothing_else_is_read() {
    let state = UsState::parse("ca").unwrap();
    assert_eq!(serde_json::to_string(&state).unwrap(), r#""CA""#);
    assert_eq!(serde_json::from_str::<UsState>(r#""CA""#).unwrap(), state);
    assert!(serde_json::from_str::<UsState>(r#""California""#).is_err());
}

#[test]
fn every_action_misses_the_address_it_needs_and_no_other() {
    let missing =
        |action| CallHandling { incoming_call_action: action, ..CallHandling::default() }.missing_address();
    assert_eq!(missing(CallAction::AutoAccept), Some("client_websocket_url"));
    assert_eq!(missing(CallAction::Webhook), Some("incoming_call_webhook_url"));
    assert_eq!(missing(CallAction::AutoReject), None);
    assert_eq!(missing(CallAction::HostedAgent), None);
    assert_eq!(missing(CallAction::Forward), Some("forwarding_target_type"));
}

#[test]
fn a_number_to_forward_to_is_in_e164() {
    for number in ["+12125550100", "+4930123456", "+1234567"] {
        assert_eq!(check_number(number), Ok(()), "{number}");
    }
    for number in [
        "",
        "+",
        "12125550100",
        "+02125550100",
        "+123456",
        "+1234567890123456",
        "+1 212 5550100",
        "+1212555010x",
    ] {
        assert_eq!(check_number(number), Err(NumberError), "{number}");
    }
}

#[test]
fn an_address_to_forward_to_is_of_sip_at_a_public_host() {
    for address in [
        "sip:+14155550100@voice.example.com",
        "sips:desk@voice.example.com:5061;transport=tls",
        "SIP:voice.example.com",
        "sip:desk@xn--bcher-kva.example?subject=call",
    ] {
        assert_eq!(check_sip_uri(address), Ok(()), "{address}");
    }
    for address in [
        "",
        "sip:",
        "desk@voice.example.com",
        "tel:+14155550100",
        "sip:desk@localhost",
        "sip:desk@voice",
        "sip:desk@voice.local",
        "sip:desk@voice.internal",
        "sip:desk@192.0.2.1",
        "sip:desk@[2001:db8::1]",
        "sip:desk@10.0.0.1:5060",
        "sip:desk@voice..example.com",
        "sip:desk@-voice.example.com",
        "sip:desk@voice.example.com:0",
        "sip:desk@voice.example.com:x",
        "sip:@voice.example.com",
        "sip:a b@voice.example.com",
        "sip:desk@voice.example.1",
    ] {
        assert_eq!(check_sip_uri(address), Err(SipError), "{address}");
    }
}

#[test]
fn a_private_domain_is_private_in_every_spelling() {
    assert_eq!(check_sip_uri("sip:desk@voice.LOCAL"), Err(SipError));
}

#[test]
fn what_was_stored_before_there_was_forwarding_has_no_target() {
    let stored = r#"{"incoming_call_action":"auto_reject","client_websocket_url":null,"incoming_call_webhook_url":null}"#;
    let calls: CallHandling = serde_json::from_str(stored).unwrap();
    assert_eq!(calls, CallHandling::default());
    assert_eq!(serde_json::to_string(&calls).unwrap(), stored);
}
