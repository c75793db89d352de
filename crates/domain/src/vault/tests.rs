use super::*;
use crate::testing::Given;

const FIRST: Uuid = Uuid::from_u128(1);
const SECOND: Uuid = Uuid::from_u128(2);
const RECOVERY: Uuid = Uuid::from_u128(0xa);

fn given(history: impl IntoIterator<Item = Event>) -> Given<Vault> {
    crate::testing::given(history)
}

fn key(id: Uuid, key_type: KeyType) -> Key {
    Key { id, key_type, wrapped_sha256: format!("{id:x}") }
}

fn first_keys() -> Vec<Key> {
    vec![key(FIRST, KeyType::Primary), key(RECOVERY, KeyType::Recovery)]
}

fn initialized() -> Event {
    Event::Initialized { keys: first_keys() }
}

fn replace(id: Uuid, replaced: &[Uuid]) -> Command {
    Command::ReplacePrimary { key: key(id, KeyType::Primary), replaced: replaced.to_vec() }
}

fn replaced(id: Uuid, replaced: &[Uuid]) -> Event {
    Event::PrimaryKeyReplaced { key: key(id, KeyType::Primary), replaced: replaced.to_vec() }
}

#[test]
fn a_vault_is_initialized_once() {
    let initialize = Command::Initialize { keys: first_keys() };
    given([])
        .when(&initialize)
        .then([initialized()])
        .when(&initialize)
        .then_err(VaultError::AlreadyInitialized);
}

#[test]
fn nothing_is_done_to_a_vault_that_is_not_there() {
    given([]).when(&replace(SECOND, &[FIRST])).then_err(VaultError::NotInitialized);
    given([]).when(&Command::DeleteKey { key_id: FIRST }).then_err(VaultError::NotInitialized);
}

#[test]
fn a_new_primary_key_replaces_the_present_one_and_no_other() {
    given([initialized()])
        .when(&replace(SECOND, &[FIRST]))
        .then([replaced(SECOND, &[FIRST])])
        .is(&Vault::Live([(SECOND, KeyType::Primary), (RECOVERY, KeyType::Recovery)].into()));
    for wrong in [&[][..], &[RECOVERY], &[FIRST, Uuid::from_u128(9)]] {
        given([initialized()]).when(&replace(SECOND, wrong)).then_err(VaultError::KeyNotFound);
    }
    let late = replace(Uuid::from_u128(3), &[FIRST]);
    given([initialized(), replaced(SECOND, &[FIRST])]).when(&late).then_err(VaultError::KeyNotFound);
    given([initialized()]).when(&replace(RECOVERY, &[FIRST])).then_err(VaultError::KeyExists);
}

#[test]
fn a_recovery_key_is_used_once() {
    let recovered = given([initialized()])
        .when(&replace(SECOND, &[FIRST, RECOVERY]))
        .then([replaced(SECOND, &[FIRST, RECOVERY])]);
    let again = replace(Uuid::from_u128(3), &[SECOND, RECOVERY]);
    recovered.when(&again).then_err(VaultError::KeyNotFound);
}

#[test]
fn every_key_but_the_last_can_be_deleted() {
    let delete = |key_id| Command::DeleteKey { key_id };
    let deleted = |key_id| Event::KeyDeleted { key_id };
    given([initialized()])
        .when(&delete(RECOVERY))
        .then([deleted(RECOVERY)])
        .when(&delete(FIRST))
        .then_err(VaultError::LastKey);
    given([initialized(), deleted(RECOVERY)]).when(&delete(RECOVERY)).then_err(VaultError::KeyNotFound);
    given([initialized()]).when(&delete(FIRST)).then([deleted(FIRST)]);
}
