//! Contract, section 10.4.

use super::*;

const GRANT: Command = Command::GrantVaultAccess { vault_secret_id: SECRET };
const REVOKE: Command = Command::RevokeVaultAccess { vault_secret_id: SECRET };

fn granted(secret: Uuid) -> Event {
    Event::VaultAccessGranted { access_id: ROW, vault_secret_id: secret }
}

fn revoked(secret: Uuid) -> Event {
    Event::VaultAccessRevoked { vault_secret_id: secret }
}

#[test]
fn access_to_a_secret_can_be_granted_and_revoked_and_granted_again() {
    live([])
        .with(existing([(SECRET, ROW)]))
        .when(&GRANT)
        .then([granted(SECRET)])
        .when(&REVOKE)
        .then([revoked(SECRET)])
        .with(existing([(SECRET, ROW)]))
        .when(&GRANT)
        .then([granted(SECRET)]);
}

#[test]
fn access_is_granted_once() {
    live([granted(SECRET)])
        .with(existing([(SECRET, OTHER_ROW)]))
        .when(&GRANT)
        .then_err(IdentityError::VaultAccessExists);
}

#[test]
fn a_secret_that_does_not_exist_cannot_be_granted() {
    live([]).when(&GRANT).then_err(IdentityError::SecretNotFound(SECRET));
}

#[test]
fn a_secret_that_is_gone_is_not_found_even_by_who_had_access() {
    live([granted(SECRET)]).when(&GRANT).then_err(IdentityError::SecretNotFound(SECRET));
}

#[test]
fn access_that_is_not_there_cannot_be_revoked() {
    live([granted(OTHER_SECRET)]).when(&REVOKE).then_err(IdentityError::VaultAccessMissing);
    live([granted(SECRET), revoked(SECRET)]).when(&REVOKE).then_err(IdentityError::VaultAccessMissing);
}

#[test]
fn access_to_a_secret_that_is_gone_can_still_be_revoked() {
    live([granted(SECRET)]).when(&REVOKE).then([revoked(SECRET)]);
}

#[test]
fn a_grant_asks_whether_its_secret_exists_and_a_revocation_asks_nothing() {
    let secrets = Some(SecretSelection::These(vec![SECRET]));
    assert_eq!(Identity::needs(&GRANT), Needs { secrets, ..Needs::default() });
    assert_eq!(Identity::needs(&REVOKE), Needs::default());
}
