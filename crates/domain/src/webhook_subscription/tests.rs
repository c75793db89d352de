use std::collections::BTreeSet;

use super::*;
use crate::testing::Given;

fn given(history: impl IntoIterator<Item = Event>) -> Given<WebhookSubscription> {
    crate::testing::given(history)
}

fn settings() -> Settings {
    Settings {
        url: "https://alpha.example/".to_owned(),
        event_types: vec!["identity.updated".to_owned()],
        context_config: None,
        has_auth_token: false,
    }
}

fn creation() -> Creation {
    let id = Uuid::from_u128(1);
    Creation { identity_id: id, owner: Owner { kind: OwnerKind::Identity, id }, settings: settings() }
}

fn create() -> Command {
    Command::Create(Box::new(creation()))
}

fn no_change() -> Change {
    let id = Uuid::from_u128(1);
    Change {
        identity_id: id,
        owner_id: id,
        url: None,
        event_types: None,
        context_config: None,
        auth_token: None,
    }
}

fn change(change: Change) -> Command {
    Command::Change(Box::new(change))
}

fn full() -> Facts {
    Facts { subscription_limit: Some(SubscriptionLimit::Owner), ..Facts::default() }
}

const DISABLED: Event = Event::Disabled { reason: DisableReason::Gone };
const DELETED: Event = Event::Deleted { reason: DeleteReason::Client };

#[test]
fn a_subscription_is_created_once() {
    let created = || Event::Created(creation());
    given([]).when(&create()).then([created()]);
    for history in [vec![created()], vec![created(), DELETED]] {
        given(history).when(&create()).then_err(WebhookSubscriptionError::AlreadyCreated);
    }
    let elsewhere = Facts { id_is_taken: true, ..Facts::default() };
    given([]).with(elsewhere).when(&create()).then_err(WebhookSubscriptionError::AlreadyCreated);
}

#[test]
fn no_subscription_is_created_beyond_the_limit() {
    let refused = WebhookSubscriptionError::TooMany(SubscriptionLimit::Owner);
    given([]).with(full()).when(&create()).then_err(refused);
}

#[test]
fn only_a_change_is_told() {
    let created = || Event::Created(creation());
    let all = Change {
        url: Some("https://bravo.example/".to_owned()),
        event_types: Some(vec!["identity.deleted".to_owned()]),
        context_config: Some(Some(ContextConfig::default())),
        auth_token: Some(true),
        ..no_change()
    };
    given([created()]).when(&change(all)).then([Event::Changed(Settings {
        url: "https://bravo.example/".to_owned(),
        event_types: vec!["identity.deleted".to_owned()],
        context_config: Some(ContextConfig::default()),
        has_auth_token: true,
    })]);
    let same = || Change {
        url: Some(settings().url),
        context_config: Some(None),
        auth_token: Some(false),
        ..no_change()
    };
    given([created()]).when(&change(same())).then_nothing();
    given([created()]).with(full()).when(&change(no_change())).then_nothing();
    for history in [vec![], vec![created(), DELETED]] {
        given(history).when(&change(same())).then_err(WebhookSubscriptionError::NotFound);
    }
}

#[test]
fn another_token_is_a_change_though_the_settings_stay() {
    let with_token = || Settings { has_auth_token: true, ..settings() };
    let created = Event::Created(Creation { settings: with_token(), ..creation() });
    let other_token = change(Change { auth_token: Some(true), ..no_change() });
    given([created]).when(&other_token).then([Event::Changed(with_token())]);
}

#[test]
fn a_disabled_subscription_is_active_after_a_change_if_there_is_room() {
    let history = || [Event::Created(creation()), DISABLED];
    let same_url = change(Change { url: Some(settings().url), ..no_change() });
    let changed = || Event::Changed(settings());
    given(history()).when(&same_url).then([changed()]).when(&same_url).then_nothing();
    given(history()).when(&change(no_change())).then_nothing();
    let refused = WebhookSubscriptionError::TooMany(SubscriptionLimit::Owner);
    given(history()).with(full()).when(&same_url).then_err(refused);
}

#[test]
fn a_subscription_is_disabled_once_and_can_be_deleted_then() {
    let disable = Command::Disable { reason: DisableReason::Gone, url: None };
    given([Event::Created(creation())])
        .when(&disable)
        .then([DISABLED])
        .when(&Command::Delete(DeleteReason::Client))
        .then([DELETED])
        .is(&WebhookSubscription::Deleted);
    given([Event::Created(creation()), DISABLED]).when(&disable).then_nothing();
    for command in [disable, Command::Delete(DeleteReason::Client)] {
        given([]).when(&command).then_err(WebhookSubscriptionError::NotFound);
    }
}

#[test]
fn a_reason_that_another_address_gave_disables_nothing() {
    let disable = |url: String| Command::Disable { reason: DisableReason::Failing, url: Some(url) };
    let created = || Event::Created(creation());
    given([created()]).when(&disable("https://before.example/".to_owned())).then_nothing();
    let disabled = Event::Disabled { reason: DisableReason::Failing };
    given([created()]).when(&disable(settings().url)).then([disabled]);
}

#[test]
fn a_token_is_not_kept_for_another_origin() {
    let with_token = |url: &str| Settings { url: url.to_owned(), has_auth_token: true, ..settings() };
    let created =
        || Event::Created(Creation { settings: with_token("https://alpha.example/"), ..creation() });
    let to = |url: &str, auth_token| change(Change { url: Some(url.to_owned()), auth_token, ..no_change() });
    for url in ["https://bravo.example/", "https://alpha.example:444/", "http://alpha.example/", "?"] {
        let refused = WebhookSubscriptionError::TokenOfOtherOrigin;
        given([created()]).when(&to(url, None)).then_err(refused);
        given([created()]).when(&to(url, Some(true))).then([Event::Changed(with_token(url))]);
    }
    let path = "https://alpha.example:443/other";
    given([created()]).when(&to(path, None)).then([Event::Changed(with_token(path))]);
    given([Event::Created(creation())])
        .when(&to("https://bravo.example/", None))
        .then([Event::Changed(Settings { url: "https://bravo.example/".to_owned(), ..settings() })]);
}

#[test]
fn every_event_is_sent_as_a_type_of_the_catalog_and_every_type_that_is_sent_has_an_event() {
    let events = crate::examples::one_of_each();
    let told: BTreeSet<&str> = events.iter().filter_map(catalog::type_of).collect();
    let sent: BTreeSet<&str> =
        catalog::all().filter(|event_type| event_type.is_sent).map(|event_type| event_type.name).collect();
    assert_eq!(told, sent);
}

#[test]
fn the_names_of_the_catalog_are_distinct() {
    let names: BTreeSet<&str> = catalog::all().map(|event_type| event_type.name).collect();
    assert_eq!(names.len(), catalog::all().count());
    assert!(!names.contains(catalog::INCOMING_CALL));
}
