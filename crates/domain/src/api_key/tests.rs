use super::*;
use crate::testing::Given;

const IDENTITY: Uuid = Uuid::from_u128(0xa);

fn given(history: impl IntoIterator<Item = Event>) -> Given<ApiKey> {
    crate::testing::given(history)
}

fn issue(scope: Scope) -> Issue {
    Issue {
        label: "laptop".to_owned(),
        description: Some(String::new()),
        scope,
        secret_sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        last4: "x7Qd".to_owned(),
        created_by: "operator".to_owned(),
    }
}

fn issuing(scope: Scope) -> Command {
    Command::Issue(Box::new(issue(scope)))
}

const AGENT: Scope = Scope::Agent { identity_id: IDENTITY };

fn issued() -> Event {
    Event::Issued(issue(Scope::Admin))
}

fn alive() -> Facts {
    Facts { identity_is_live: true, ..Facts::default() }
}

#[test]
fn a_key_of_the_whole_organization_is_issued_as_asked() {
    given([]).when(&issuing(Scope::Admin)).then([issued()]).is(&ApiKey::Active);
}

#[test]
fn a_key_of_one_identity_is_issued_while_that_identity_lives() {
    given([]).with(alive()).when(&issuing(AGENT)).then([Event::Issued(issue(AGENT))]).is(&ApiKey::Active);
}

#[test]
fn a_key_of_an_identity_that_is_not_there_is_refused() {
    given([]).when(&issuing(AGENT)).then_err(ApiKeyError::IdentityNotFound);
}

#[test]
fn a_key_is_issued_once() {
    for scope in [Scope::Admin, AGENT] {
        given([issued()]).with(alive()).when(&issuing(scope)).then_err(ApiKeyError::AlreadyIssued);
        given([issued(), Event::Revoked {}])
            .with(alive())
            .when(&issuing(scope))
            .then_err(ApiKeyError::AlreadyIssued);
    }
}

#[test]
fn a_key_can_be_revoked() {
    given([issued()]).when(&Command::Revoke).then([Event::Revoked {}]).is(&ApiKey::Revoked);
}

#[test]
fn revoking_a_revoked_key_comes_to_nothing() {
    given([issued(), Event::Revoked {}]).when(&Command::Revoke).then_nothing();
}

#[test]
fn a_key_that_never_was_cannot_be_revoked() {
    given([]).when(&Command::Revoke).then_err(ApiKeyError::NotFound);
}

#[test]
fn only_a_key_of_one_identity_asks_for_that_identity() {
    assert_eq!(ApiKey::needs(&issuing(AGENT)), Needs { identity: Some(IDENTITY), ..Needs::default() });
    assert_eq!(ApiKey::needs(&issuing(Scope::Admin)), Needs::default());
    assert_eq!(ApiKey::needs(&Command::Revoke), Needs::default());
}
