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
}
