//! The wire form of events: one example of every event is committed, in the shape in which the log stores it for ever.
//!
//! These tests fail if the shape of an event changes. Do not change the example then: give the event a new version
//! with an example of its own, and keep the old one.

mod values;

pub(crate) use values::one_of_each;

use std::collections::BTreeSet;
use std::path::PathBuf;

use cqrs_es::DomainEvent as _;
use cqrs_es::persist::SerializedEvent;
use serde_json::Value;

use crate::upcasting::{present_version, upcast};
use crate::{Event, Kind};

/// The folder of the examples.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("events")
}

fn file_name(event: &Event) -> String {
    format!("{}.v{}.json", event.name(), event.version())
}

/// Every example with the value that it stands for.
fn examples() -> Vec<(String, Event)> {
    let whole = one_of_each().into_iter().map(|event| (file_name(&event), event));
    let optional = values::with_optional_fields().into_iter().map(|(event, what)| {
        let name = format!("{}.v{}.{what}.json", event.name(), event.version());
        (name, event)
    });
    whole.chain(optional).chain(values::of_older_versions()).collect()
}

/// The example as it is after the upcasters: its payload, and the event.
fn decoded(file_name: &str) -> (Value, Event) {
    let [aggregate, name, version] =
        file_name.split('.').take(3).collect::<Vec<_>>().try_into().expect(file_name);
    let (event_type, version) = (format!("{aggregate}.{name}"), version.trim_start_matches('v').to_owned());
    let stored = SerializedEvent::new(
        String::new(),
        1,
        aggregate.to_owned(),
        event_type,
        version,
        committed(file_name),
        Value::Null,
    );
    let event = upcast(stored);
    assert_eq!(event.event_version, present_version(&event.event_type), "{file_name}");
    let decoded = Event::decode(kind_of(file_name), event.payload.clone()).expect(file_name);
    (event.payload, decoded)
}

fn committed(file_name: &str) -> Value {
    let text = std::fs::read_to_string(folder().join(file_name)).expect(file_name);
    serde_json::from_str(&text).expect(file_name)
}

fn file_names() -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The aggregate type in the name of a file.
fn kind_of(file_name: &str) -> Kind {
    file_name.split('.').next().and_then(Kind::parse).expect(file_name)
}

#[test]
fn every_event_has_an_example_and_every_example_an_event() {
    let expected: BTreeSet<String> = examples().into_iter().map(|(name, _)| name).collect();
    assert_eq!(file_names(), expected);
}

#[test]
fn every_example_decodes_and_encodes_to_itself() {
    for file_name in file_names() {
        let (payload, event) = decoded(&file_name);
        assert_eq!(event.encode().unwrap(), payload, "{file_name}");
    }
}

#[test]
fn every_example_says_what_the_software_says() {
    for (file_name, event) in examples() {
        assert_eq!(decoded(&file_name).1, event, "{file_name}");
    }
}

#[test]
fn name_version_and_type_of_an_example_agree_with_its_file_name() {
    for file_name in file_names() {
        let event = decoded(&file_name).1;
        let stem = self::file_name(&event).trim_end_matches("json").to_owned();
        let is_older = values::of_older_versions().iter().any(|(older, _)| *older == file_name);
        assert_eq!(file_name.starts_with(&stem), !is_older, "{file_name} is not called {stem}");
        assert_eq!(committed(&file_name)["type"], event.name(), "{file_name}");
    }
}

/// A payload of an older version does not decode by itself, so a reader that forgets the upcasters fails.
#[test]
fn an_example_of_an_older_version_needs_its_upcaster() {
    for (file_name, _) in values::of_older_versions() {
        assert!(Event::decode(kind_of(&file_name), committed(&file_name)).is_err(), "{file_name}");
    }
}

#[test]
fn cqrs_es_is_told_the_same_name() {
    for event in one_of_each() {
        let told = match &event {
            Event::Identity(event) => event.event_type(),
            Event::ApiKey(event) => event.event_type(),
            Event::Organization(event) => event.event_type(),
            Event::Vault(event) => event.event_type(),
            Event::VaultSecret(event) => event.event_type(),
            Event::WebhookSubscription(event) => event.event_type(),
        };
        assert_eq!(told, event.name());
    }
}

#[test]
fn the_name_of_every_event_begins_with_that_of_its_aggregate() {
    for event in one_of_each() {
        assert_eq!(event.name().split_once('.').unwrap().0, event.kind().as_str());
    }
}

#[test]
fn an_event_of_no_known_name_does_not_decode() {
    for kind in Kind::ALL {
        let unknown = serde_json::json!({"type": format!("{}.unheard_of", kind.as_str())});
        assert!(Event::decode(kind, unknown).is_err(), "{kind:?}");
    }
}

/// How values are written, one after the other.
fn names<T: serde::Serialize, const N: usize>(values: [T; N]) -> String {
    values.map(|value| serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()).join(" ")
}

/// The examples contain one value of each closed set of values. This test covers all of them.
#[test]
fn the_values_of_closed_sets_have_names_that_never_change() {
    use crate::identity::{Channel, FilterMode, Status, TlsMode};
    use crate::phone::{CallAction, ForwardingTargetType};
    use crate::vault::KeyType;
    use crate::vault_secret::SecretType;
    use crate::webhook_subscription::{DeleteReason, DisableReason, OwnerKind};

    assert_eq!(names([Channel::Imessage, Channel::Mail, Channel::Phone]), "imessage mail phone");
    assert_eq!(names([FilterMode::Whitelist, FilterMode::Blacklist]), "whitelist blacklist");
    assert_eq!(names([Status::Active, Status::Paused]), "active paused");
    assert_eq!(names([KeyType::Primary, KeyType::Recovery]), "primary recovery");
    assert_eq!(
        names([OwnerKind::Mailbox, OwnerKind::PhoneNumber, OwnerKind::Identity]),
        "mailbox phone_number identity"
    );
    assert_eq!(
        names([DisableReason::Operator, DisableReason::Gone, DisableReason::Failing, DisableReason::Backlog]),
        "operator gone failing backlog"
    );
    assert_eq!(
        names([DeleteReason::Client, DeleteReason::IdentityDeleted, DeleteReason::PhoneNumberReleased]),
        "client identity_deleted phone_number_released"
    );
    assert_eq!(names([TlsMode::Edge, TlsMode::Passthrough]), "edge passthrough");
    assert_eq!(
        names([CallAction::AutoAccept, CallAction::AutoReject, CallAction::Webhook, CallAction::HostedAgent]),
        "auto_accept auto_reject webhook hosted_agent"
    );
    assert_eq!(names([CallAction::Forward]), "forward");
    assert_eq!(names([ForwardingTargetType::Phone, ForwardingTargetType::Sip]), "phone sip");
    assert_eq!(
        names([
            SecretType::ApiKey,
            SecretType::KeyPair,
            SecretType::Login,
            SecretType::SshKey,
            SecretType::Other
        ]),
        "api_key key_pair login ssh_key other"
    );
}
