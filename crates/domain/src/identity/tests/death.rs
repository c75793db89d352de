//! Contract, section 3.5.

use super::*;

/// One of every command.
fn every_command() -> Vec<Command> {
    vec![
        Command::Update(Box::default()),
        Command::GrantVisibility { access_id: ROW, viewer: ALPHA },
        Command::OpenVisibility { access_id: ROW },
        Command::RevokeVisibility { viewer: ALPHA },
        Command::ProvisionPhone(order()),
        Command::ChangePhone(PhoneChange {
            phone_number_id: PHONE,
            incoming_call_action: None,
            client_websocket_url: None,
            incoming_call_webhook_url: None,
            forwarding: crate::phone::ForwardingChange::default(),
            filter_mode: None,
        }),
        Command::ReleasePhone { phone_number_id: None },
        Command::ReplaceTunnelMetadata { metadata: "{}".to_owned() },
        Command::GrantVaultAccess { vault_secret_id: SECRET },
        Command::RevokeVaultAccess { vault_secret_id: SECRET },
        Command::Delete,
    ]
}

/// Facts with which a live identity could accept any of them.
fn all_is_well() -> Facts {
    Facts {
        identity_is_live: true,
        identities: vec![(ALPHA, ROW)],
        secrets: vec![(SECRET, ROW)],
        ..offered()
    }
}

#[test]
fn the_dead_names_what_it_gives_up() {
    live([]).when(&Command::Delete).then([deleted()]).is(&Identity::Deleted);
}

#[test]
fn a_renamed_identity_gives_up_its_present_name_and_its_first_address() {
    let renamed =
        Event::Renamed { previous_agent_handle: handle("harbor-desk"), agent_handle: handle("front-desk") };
    live([renamed]).when(&Command::Delete).then([Event::Deleted {
        agent_handle: handle("front-desk"),
        email_address: "harbor-desk@agents.localhost".to_owned(),
    }]);
}

#[test]
fn the_phone_number_goes_back_before_its_identity_ends() {
    live([provisioned(CallHandling::default())])
        .when(&Command::Delete)
        .then([released(), deleted()])
        .is(&Identity::Deleted);
}

#[test]
fn a_number_that_went_back_before_is_not_released_again() {
    live([provisioned(CallHandling::default()), released()]).when(&Command::Delete).then([deleted()]);
}

#[test]
fn whatever_else_belonged_to_it_needs_no_event_of_its_own() {
    let access = Event::VaultAccessGranted { access_id: OTHER_ROW, vault_secret_id: SECRET };
    let paused = Event::StatusChanged { status: Status::Paused };
    live([access, granted(ALPHA), paused]).when(&Command::Delete).then([deleted()]);
}

#[test]
fn nothing_can_be_asked_of_an_identity_that_was_deleted() {
    for command in every_command() {
        live([deleted()]).with(all_is_well()).when(&command).then_err(IdentityError::NotFound);
    }
}

#[test]
fn nothing_but_birth_can_be_asked_of_an_identity_that_never_was() {
    for command in every_command() {
        given([]).with(all_is_well()).when(&command).then_err(IdentityError::NotFound);
    }
}

#[test]
fn history_after_the_end_changes_nothing() {
    given([created(), deleted(), granted(ALPHA), deleted()]).is(&Identity::Deleted);
    given([granted(ALPHA)]).is(&Identity::NotYet);
}
