//! Ciphertexts are written and deleted in the transaction of their events.

use identity_log::ciphertexts::{self, CiphertextChange};

use super::*;

fn put(name: &str, text: &str) -> CiphertextChange {
    CiphertextChange::Put { name: name.to_owned(), ciphertext: text.as_bytes().to_vec() }
}

fn with(append: Append, changes: impl IntoIterator<Item = CiphertextChange>) -> Append {
    Append { ciphertexts: changes.into_iter().collect(), ..append }
}

/// Names and contents of all ciphertexts of an identity.
fn stored(history: &History, id: Uuid) -> Vec<(String, String)> {
    let kind = Kind::Identity;
    let id = [id.to_string()];
    let rows = ciphertexts::of_aggregates(history.database.pool(), HARBOR, kind, &id);
    let rows = wait(rows).unwrap().into_iter();
    rows.map(|row| (row.name, String::from_utf8(row.ciphertext).unwrap())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn the_last_change_in_a_batch_counts() {
    let history = History::new();
    let id = ids::mint();
    let delete_a = CiphertextChange::Delete { name: "a".to_owned() };
    let answers = history.in_one_batch([
        with(create(id, "harbor-desk"), [put("a", "first"), put("b", "first")]),
        with(describe(id, "second"), [put("a", "second"), CiphertextChange::Delete { name: "b".to_owned() }]),
        with(describe(id, "third"), [put("c", "third")]),
    ]);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(stored(&history, id), pairs(&[("a", "second"), ("c", "third")]));
    history.append(with(describe(id, "fourth"), [put("c", "fourth"), delete_a]));
    assert_eq!(stored(&history, id), pairs(&[("c", "fourth")]));
}

#[test]
fn a_command_that_is_refused_or_changes_nothing_stores_nothing() {
    let history = History::new();
    let id = ids::mint();
    history.append(create(id, "harbor-desk"));
    let [unchanged, refused, _] = history.in_one_batch([
        with(rename(id, "harbor-desk"), [put("a", "text")]),
        with(at_version(7, describe(id, "new")), [put("a", "text")]),
        describe(id, "so that the batch writes something"),
    ]);
    assert!(unchanged.unwrap().events.is_empty() && refused.is_err());
    assert_eq!(stored(&history, id), []);
}

#[test]
fn the_end_of_an_aggregate_deletes_its_ciphertexts_and_no_others() {
    let history = History::new();
    let [desk, other] = [ids::mint(), ids::mint()];
    history.append(with(create(desk, "harbor-desk"), [put("a", "old")]));
    history.append(with(create(other, "other-desk"), [put("a", "other")]));
    let answers = history.in_one_batch([with(describe(desk, "new"), [put("b", "new")]), delete(desk)]);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(stored(&history, desk), []);
    assert_eq!(stored(&history, other), pairs(&[("a", "other")]));
}

#[test]
fn another_organization_finds_none() {
    let history = History::new();
    let id = ids::mint();
    history.append(with(create(id, "harbor-desk"), [put("a", "text")]));
    let kind = Kind::Identity;
    let id = [id.to_string()];
    let found = ciphertexts::of_aggregates(history.database.pool(), "org_other", kind, &id);
    assert_eq!(wait(found).unwrap(), []);
}
