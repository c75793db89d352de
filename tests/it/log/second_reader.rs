//! The repository of postgres-es reads our table.

use identity_domain::api_key::{self, Issue, Scope};
use identity_domain::identity::{FilterMode, Identity, PhoneOrder, Update};
use identity_domain::phone::CallHandling;
use identity_domain::{NumberWish, organization, vault_secret};

use super::*;

/// State and version of an aggregate, from our own reads.
fn folded(history: &History, aggregate_id: &str) -> (Option<State>, usize) {
    let mut state = None;
    let mut version = 0;
    for recorded in history.events().iter().filter(|recorded| recorded.aggregate_id == aggregate_id) {
        state.get_or_insert_with(|| State::initial(recorded.event.kind())).evolve(&recorded.event);
        version += 1;
        assert_eq!(usize::try_from(recorded.sequence), Ok(version));
    }
    (state, version)
}

#[track_caller]
fn loads_the_same(history: &History, aggregate_id: &(impl ToString + ?Sized), kind: Kind) {
    let id = aggregate_id.to_string();
    let (state, version) = loaded(history, kind, &id, i64::MAX);
    assert_eq!((Some(state), version), folded(history, &id));
    assert!(version > 0, "there is something to load");
}

fn issue(scope: Scope) -> Command {
    Command::ApiKey(api_key::Command::Issue(Box::new(Issue {
        label: "laptop".to_owned(),
        description: None,
        scope,
        secret_sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        last4: "x7Qd".to_owned(),
        created_by: "operator".to_owned(),
        expires_at: None,
    })))
}

/// An identity with nearly every kind of event, and another one that may see it.
fn lived(history: &History, secret: Uuid) -> [Uuid; 2] {
    let [desk, viewer] = [ids::mint(), ids::mint()];
    let order = PhoneOrder {
        id: ids::mint(),
        wish: NumberWish::default(),
        calls: CallHandling::default(),
        filter_mode: Some(FilterMode::Whitelist),
    };
    let metadata = r#"{"b": 1, "a": 1.0}"#.to_owned();
    let cleared = Update { display_name: Some(None), ..Update::default() };
    for append in [
        create(desk, "harbor-desk"),
        create(viewer, "front-desk"),
        rename(desk, "night-desk"),
        describe(desk, "☎ \"quoted\"\n\u{1}"),
        update(desk, cleared),
        grant(desk, viewer),
        ask_identity(desk, IdentityCommand::ProvisionPhone(order)),
        ask_identity(desk, IdentityCommand::ReplaceTunnelMetadata { metadata }),
        ask_identity(desk, IdentityCommand::GrantVaultAccess { vault_secret_id: secret }),
    ] {
        history.append(append);
    }
    [desk, viewer]
}

#[test]
fn the_second_reader_loads_what_our_own_reads_tell() {
    let history = History::new();
    let [secret, key, revoked] = [ids::mint(), ids::mint_random(), ids::mint_random()];
    let organization = Command::Organization(organization::Command::Create { name: "Harbor".to_owned() });
    history.append(ask(HARBOR, organization));
    history.append(register(secret, "Booking system"));
    let [desk, viewer] = lived(&history, secret);
    history.append(ask(&key, issue(Scope::Agent { identity_id: desk })));
    history.append(ask(&revoked, issue(Scope::Admin)));
    history.append(ask(&revoked, Command::ApiKey(api_key::Command::Revoke)));
    history.append(delete(viewer));
    history.append(ask(&secret, Command::VaultSecret(vault_secret::Command::Delete)));

    loads_the_same(&history, HARBOR, Kind::Organization);
    loads_the_same(&history, &desk, Kind::Identity);
    loads_the_same(&history, &viewer, Kind::Identity);
    loads_the_same(&history, &key, Kind::ApiKey);
    loads_the_same(&history, &revoked, Kind::ApiKey);
    loads_the_same(&history, &secret, Kind::VaultSecret);
}

#[test]
fn what_never_happened_loads_as_not_yet_at_version_zero() {
    let history = History::new();
    assert_eq!(loaded(&history, Kind::Identity, "nobody", i64::MAX), (State::Identity(Identity::NotYet), 0));
}

#[test]
fn a_long_life_is_loaded_page_by_page_up_to_a_position() {
    let history = History::new();
    let desk = ids::mint();
    history.append(create(desk, "harbor-desk"));
    history.database.execute(&format!(
        "with made as (
             insert into events
             select head.position + number, '{HARBOR}', head.position + number, 'identity', '{desk}', number + 1,
                    'identity.description_changed', '1',
                    jsonb_build_object('type', 'identity.description_changed', 'description', number::text),
                    '{{}}', now(), decode(repeat('00', 32), 'hex')
             from log_head as head, generate_series(1, 1200) as number
             returning 1)
         update log_head set position = position + 1200"
    ));
    assert_eq!(loaded(&history, Kind::Identity, &desk.to_string(), i64::MAX).1, 1201);
    assert_eq!(loaded(&history, Kind::Identity, &desk.to_string(), 1000).1, 1000);
}
