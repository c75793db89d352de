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

fn register(content: Option<&str>) -> Command {
    Command::Register { registration: registration(), content_sha256: content.map(str::to_owned) }
}

fn registered() -> Event {
    Event::Registered(registration())
}

fn content_set(digest: &str) -> Event {
    Event::ContentSet { content_sha256: digest.to_owned() }
}

fn live(content: Option<&str>) -> VaultSecret {
    let Registration { name, description, .. } = registration();
    VaultSecret::Live(Live { name, description, content_sha256: content.map(str::to_owned) })
}

#[test]
fn a_secret_is_registered_as_it_was_described() {
    given([]).when(&register(None)).then([registered()]).is(&live(None));
    given([])
        .when(&register(Some("digest")))
        .then([registered(), content_set("digest")])
        .is(&live(Some("digest")));
}

#[test]
fn a_secret_is_registered_once() {
    for history in [vec![registered()], vec![registered(), Event::Deleted {}]] {
        given(history).when(&register(None)).then_err(VaultSecretError::AlreadyRegistered);
    }
    let elsewhere = Facts { id_is_taken: true, ..Facts::default() };
    given([]).with(elsewhere).when(&register(None)).then_err(VaultSecretError::AlreadyRegistered);
}

#[test]
fn only_what_changes_is_told() {
    let update = |update| Command::Update(update);
    let all = Update {
        name: Some("Other".to_owned()),
        description: Some(None),
        content_sha256: Some("new".to_owned()),
    };
    given([registered(), content_set("old")]).when(&update(all)).then([
        Event::NameChanged { name: "Other".to_owned() },
        Event::DescriptionChanged { description: None },
        content_set("new"),
    ]);
    let Registration { name, description, .. } = registration();
    let same =
        Update { name: Some(name), description: Some(description), content_sha256: Some("old".to_owned()) };
    given([registered(), content_set("old")]).when(&update(same)).then_nothing();
    given([registered()]).when(&update(Update::default())).then_nothing();
    for history in [vec![], vec![registered(), Event::Deleted {}]] {
        given(history).when(&update(Update::default())).then_err(VaultSecretError::NotFound);
    }
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
