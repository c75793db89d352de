//! Aggregates and batches with very many parts. Work under the head lock may grow with the size of the change only. If
//! it grew with its square, the commands here would exceed the time limits of the committer, and be refused.

use std::collections::BTreeSet;

use super::*;

/// The number of viewers of one identity.
const VIEWERS: i64 = 40_000;

/// The number of secrets with which an identity is created.
const SECRETS: usize = 5_000;

/// Inserts claims on names as if this many identities lived in the organization. A wildcard that is narrowed names all
/// of them.
fn crowd(history: &History) {
    history.database.execute(&format!(
        "insert into name_claims (name, organization_id, identity_id)
         select 'crowd-' || number, '{HARBOR}', gen_random_uuid() from generate_series(1, {VIEWERS}) as number"
    ));
}

pub(super) fn open_to_all(id: Uuid) -> Append {
    ask_identity(id, IdentityCommand::OpenVisibility { access_id: ids::mint() })
}

pub(super) fn hide(id: Uuid, viewer: Uuid) -> Append {
    ask_identity(id, IdentityCommand::RevokeVisibility { viewer })
}

fn rows(history: &History) -> i64 {
    history.database.number("select count(*) from read_model.visibility")
}

#[test]
fn an_identity_with_very_many_viewers_can_be_changed_and_deleted() {
    let history = History::new();
    let [desk, viewer, other] = [ids::mint(), ids::mint(), ids::mint()];
    for (id, handle) in [(desk, "harbor-desk"), (viewer, "front-desk"), (other, "night-desk")] {
        history.append(create(id, handle));
    }
    crowd(&history);
    history.append(open_to_all(desk));
    history.append(hide(desk, viewer));
    assert_eq!(rows(&history), VIEWERS + 1, "everybody else but the identity itself");
    history.append(grant(desk, viewer));
    history.append(hide(desk, other));
    assert_eq!(rows(&history), VIEWERS + 1);
    history.append(delete(desk));
    assert_eq!(rows(&history), 0);
}

// Each command may need the list of live identities, but only the first one gets it.
#[test]
fn a_batch_of_revocations_lists_a_large_organization_once() {
    let history = History::new();
    let desk = ids::mint();
    history.append(create(desk, "harbor-desk"));
    let viewers: [Uuid; 16] = std::array::from_fn(|_| ids::mint());
    let births: Vec<Append> =
        viewers.iter().enumerate().map(|(number, id)| create(*id, &format!("viewer-{number}"))).collect();
    let births: [Append; 16] =
        births.try_into().unwrap_or_else(|_| unreachable!("as many as there are viewers"));
    let births = history.in_one_batch(births);
    assert!(births.iter().all(Result::is_ok), "{births:?}");
    crowd(&history);
    history.append(open_to_all(desk));
    let hidden = history.in_one_batch(viewers.map(|viewer| hide(desk, viewer)));
    assert!(hidden.iter().all(Result::is_ok), "{hidden:?}");
    assert_eq!(rows(&history), VIEWERS);
}

#[test]
fn a_create_may_use_very_many_secrets() {
    let history = History::new();
    history.database.execute(&format!(
        "insert into events (position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
                             event_type, event_version, payload, metadata, recorded_at, leaf_hash)
         select number, '{HARBOR}', number, 'vault_secret', gen_random_uuid()::text, 1, 'vault_secret.registered', '1',
                '{{\"type\": \"vault_secret.registered\", \"name\": \"s\", \"secret_type\": \"other\", \"description\": null}}',
                '{{}}', now(), sha256('')
         from generate_series(1, {SECRETS}) as number"
    ));
    history.database.execute(&format!("update log_head set position = {SECRETS}"));
    history.database.execute(&format!("insert into organization_heads values ('{HARBOR}', {SECRETS})"));
    let desk = ids::mint();
    let all = Create { secrets: Some(identity_domain::SecretSelection::All), ..birth(desk, "harbor-desk") };
    let born = history.append(born(all));
    assert_eq!(born.events.len(), SECRETS + 1);
    history.append(delete(desk));
    assert_eq!(history.database.number("select count(*) from read_model.vault_access"), 0);
}

// One batch grants, revokes and grants again the same viewers.
#[test]
fn rows_of_one_batch_are_what_its_events_come_to() {
    let history = History::new();
    let [desk, one, other] = [ids::mint(), ids::mint(), ids::mint()];
    for (id, handle) in [(desk, "harbor-desk"), (one, "front-desk"), (other, "night-desk")] {
        history.append(create(id, handle));
    }
    history.append(grant(desk, one));
    let done = history.in_one_batch([
        hide(desk, one),
        grant(desk, one),
        grant(desk, other),
        hide(desk, other),
        hide(desk, one),
        grant(desk, other),
        hide(desk, other),
        grant(desk, one),
        grant(desk, other),
    ]);
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let viewers = "select viewer_id from read_model.visibility";
    let viewers: Vec<Uuid> = wait(sqlx::query_scalar(viewers).fetch_all(history.database.pool())).unwrap();
    assert_eq!(viewers.len(), 2);
    assert_eq!(viewers.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([one, other]));
    let done =
        history.in_one_batch([open_to_all(desk), hide(desk, one), grant(desk, one), hide(desk, other)]);
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let left: Vec<Uuid> = wait(
        sqlx::query_scalar("select viewer_id from read_model.visibility").fetch_all(history.database.pool()),
    )
    .unwrap();
    assert_eq!(left, [one]);
}
