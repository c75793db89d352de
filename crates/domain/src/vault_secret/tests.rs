use super::*;
use crate::testing::Given;

fn given(history: impl IntoIterator<Item = Event>) -> Given<VaultSecret> {
    crate::testing::given(history)
}

fn registration() -> Registration {
    Registration {
        name: "Mail provider".to_owned(),
        secret_type: SecretType::Login,
        description: Some("For the night shift".to_owned()),
    }
}

fn registered() -> Event {
    Event::Registered(registration())
}

#[test]
fn a_secret_is_registered_as_it_was_described() {
    given([]).when(&Command::Register(registration())).then([registered()]).is(&VaultSecret::Live);
}

#[test]
fn a_secret_is_registered_once() {
    let again = Command::Register(registration());
    given([registered()]).when(&again).then_err(VaultSecretError::AlreadyRegistered);
    given([registered(), Event::Deleted {}]).when(&again).then_err(VaultSecretError::AlreadyRegistered);
}

#[test]
fn a_secret_can_be_deleted() {
    given([registered()]).when(&Command::Delete).then([Event::Deleted {}]).is(&VaultSecret::Deleted);
}

#[test]
fn a_secret_that_is_not_there_cannot_be_deleted() {
    given([]).when(&Command::Delete).then_err(VaultSecretError::NotFound);
    given([registered(), Event::Deleted {}]).when(&Command::Delete).then_err(VaultSecretError::NotFound);
}
