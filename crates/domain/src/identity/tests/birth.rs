//! Contract, section 2.

use super::*;

fn born(create: Create) -> Command {
    Command::Create(Box::new(create))
}

#[test]
fn an_identity_is_born_with_its_mailbox_and_its_tunnel() {
    given([]).when(&born(create())).then([created()]).is(&Identity::Live(Box::new(Live {
        id: TARGET,
        handle: handle("harbor-desk"),
        email_address: "harbor-desk@agents.localhost".to_owned(),
        display_name: Some("harbor-desk".to_owned()),
        description: None,
        status: Status::Active,
        imessage_enabled: false,
        filters: Filters {
            imessage: FilterMode::Blacklist,
            mail: FilterMode::Blacklist,
            phone: FilterMode::Blacklist,
        },
        visibility: Visibility::None,
        phone: None,
        tunnel_metadata: "{}".to_owned(),
        secrets: BTreeSet::new(),
        signing_key_sha256: None,
    })));
}

#[test]
fn what_is_said_at_birth_is_kept_as_it_was_said() {
    let wish = Create {
        display_name: Some("Harbor Desk".to_owned()),
        description: Some(String::new()),
        imessage_enabled: true,
        tunnel: Tunnel { tls_mode: TlsMode::Passthrough, ..tunnel() },
        ..create()
    };
    given([]).when(&born(wish)).then([Event::Created {
        id: TARGET,
        agent_handle: handle("harbor-desk"),
        display_name: "Harbor Desk".to_owned(),
        description: Some(String::new()),
        imessage_enabled: true,
        mailbox: mailbox(),
        tunnel: Tunnel { tls_mode: TlsMode::Passthrough, ..tunnel() },
    }]);
}

#[test]
fn a_name_that_somebody_else_holds_is_refused_with_its_namespace() {
    for namespace in Namespace::ALL {
        let taken = IdentityError::HandleUnavailable(namespace);
        given([]).with(blocked(namespace)).when(&born(create())).then_err(taken);
    }
}

#[test]
fn a_reserved_name_is_nobodys_even_when_it_is_free() {
    let wish = Create { agent_handle: handle("sup-port"), ..create() };
    given([]).when(&born(wish)).then_err(IdentityError::HandleUnavailable(Namespace::Identities));
}

#[test]
fn a_reserved_name_is_reported_before_whoever_holds_it() {
    let wish = Create { agent_handle: handle("support"), ..create() };
    let reserved = IdentityError::HandleUnavailable(Namespace::Identities);
    given([]).with(blocked(Namespace::Mail)).when(&born(wish)).then_err(reserved);
}

#[test]
fn an_identity_can_be_born_with_a_phone_number() {
    let calls = CallHandling {
        incoming_call_action: CallAction::AutoAccept,
        client_websocket_url: Some("wss://desk.example/calls".to_owned()),
        incoming_call_webhook_url: None,
    };
    let wish = Create { phone: Some(PhoneOrder { calls: calls.clone(), ..order() }), ..create() };
    given([]).with(offered()).when(&born(wish)).then([created(), provisioned(calls)]);
}

#[test]
fn without_a_number_to_give_there_is_no_birth() {
    let wish = Create { phone: Some(order()), ..create() };
    given([]).when(&born(wish)).then_err(IdentityError::NoNumberAvailable);
}

#[test]
fn an_incomplete_phone_order_is_refused_before_a_number_is_looked_for() {
    let calls = CallHandling { incoming_call_action: CallAction::Webhook, ..CallHandling::default() };
    let wish = Create { phone: Some(PhoneOrder { calls, ..order() }), ..create() };
    let incomplete = IdentityError::CallAddressMissing("incoming_call_webhook_url");
    given([]).when(&born(wish)).then_err(incomplete);
}

#[test]
fn an_identity_can_be_born_with_all_secrets_or_with_some() {
    let both = [(SECRET, ROW), (OTHER_SECRET, OTHER_ROW)];
    let granted = both
        .map(|(vault_secret_id, access_id)| Event::VaultAccessGranted { access_id, vault_secret_id })
        .to_vec();
    let named = SecretSelection::These(vec![OTHER_SECRET, SECRET]);
    for selection in [SecretSelection::All, named] {
        let wish = Create { secrets: Some(selection), ..create() };
        let expected = [created()].into_iter().chain(granted.clone());
        given([]).with(existing(both)).when(&born(wish)).then(expected);
    }
}

#[test]
fn all_secrets_of_an_organization_that_has_none_are_none() {
    let wish = Create { secrets: Some(SecretSelection::All), ..create() };
    given([]).when(&born(wish)).then([created()]);
}

#[test]
fn one_secret_that_does_not_exist_prevents_the_birth() {
    let selection = SecretSelection::These(vec![SECRET, OTHER_SECRET]);
    let wish = Create { secrets: Some(selection), ..create() };
    let missing = IdentityError::SecretNotFound(OTHER_SECRET);
    given([]).with(existing([(SECRET, ROW)])).when(&born(wish)).then_err(missing);
}

#[test]
fn an_id_is_used_once() {
    live([]).when(&born(create())).then_err(IdentityError::AlreadyCreated);
    live([deleted()]).when(&born(create())).then_err(IdentityError::AlreadyCreated);
}

#[test]
fn a_birth_asks_for_its_name_its_number_and_its_secrets() {
    let wish = NumberWish { state: Some(UsState::parse("CA").unwrap()) };
    let create = Create {
        phone: Some(PhoneOrder { wish: wish.clone(), ..order() }),
        secrets: Some(SecretSelection::All),
        ..create()
    };
    let needs = Needs {
        name: Some(handle("harbor-desk")),
        number: Some(wish),
        secrets: Some(SecretSelection::All),
        ..Needs::default()
    };
    assert_eq!(Identity::needs(&born(create)), needs);
}
