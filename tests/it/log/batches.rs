//! Many commands in one transaction: each gets its own answer.

use identity_domain::Namespace;
use identity_domain::api_key::{self, ApiKeyError};
use identity_domain::identity::{IdentityError, Update};

use identity_projections::identities::Row;

use super::*;

const UNAVAILABLE: IdentityError = IdentityError::HandleUnavailable(Namespace::Identities);

#[track_caller]
fn version_conflict(answer: &Answer, expected: i64) {
    let Err(AppendError::VersionConflict { actual }) = answer else {
        panic!("{answer:?} is no version conflict");
    };
    assert_eq!(*actual, expected);
}

fn changes_nothing(committed: &Committed, version: i64) -> bool {
    committed.version == version && committed.events.is_empty() && committed.kept.is_none()
}

#[test]
fn winners_and_losers_of_one_batch_each_get_their_own_answer() {
    let history = History::new();
    let [desk, taken, first, second, nobody] = [(); 5].map(|()| ids::mint());
    history.append(create(desk, "harbor-desk"));
    history.append(create(taken, "front-desk"));
    let before = history.head();
    let answers = history.in_one_batch([
        at_version(1, describe(desk, "won")),
        at_version(1, describe(desk, "lost")),
        rename(desk, "front-desk"),
        create(first, "night-desk"),
        create(second, "night-desk"),
        at_version(2, update(desk, Update::default())),
        describe(nobody, "lost"),
        at_version(2, rename(desk, "day-desk")),
        at_version(0, describe(taken, "lost")),
    ]);
    let [won, late, onto_taken, named, named_too, nothing, of_nobody, renamed, behind] = answers;
    assert_eq!(names(&won), ["identity.description_changed"]);
    version_conflict(&late, 2);
    rejected(onto_taken, UNAVAILABLE);
    assert_eq!(names(&named), ["identity.created"]);
    rejected(named_too, UNAVAILABLE);
    assert!(changes_nothing(&nothing.unwrap(), 2));
    rejected(of_nobody, IdentityError::NotFound);
    assert_eq!(names(&renamed), ["identity.renamed"]);
    assert_eq!(renamed.as_ref().unwrap().version, 3);
    version_conflict(&behind, 1);

    let told: Vec<Recorded> = [won, named, renamed].into_iter().flat_map(|won| won.unwrap().events).collect();
    assert_eq!(history.events().split_off(usize::try_from(before).unwrap()), told);
}

#[test]
fn what_is_answered_is_what_stands_in_the_log() {
    let history = History::new();
    let desk = ids::mint();
    let created = history.append(create(desk, "harbor-desk"));
    let wish =
        Update {
            description: Some(Some("é".to_owned())), imessage_enabled: Some(true), ..Update::default()
        };
    let updated = history.append(update(desk, wish));
    assert_eq!((created.version, updated.version), (1, 3));
    assert_eq!(history.events(), [created.events, updated.events].concat());
    let sequences: Vec<i64> = history.events().iter().map(|recorded| recorded.sequence).collect();
    assert_eq!(sequences, [1, 2, 3]);
}

#[test]
fn a_batch_of_losers_writes_nothing() {
    let history = History::new();
    let [first, second] = history.in_one_batch([delete(ids::mint()), delete(ids::mint())]);
    rejected(first, IdentityError::NotFound);
    rejected(second, IdentityError::NotFound);
    assert_eq!(history.events(), []);
    assert_eq!(history.head(), 0);
}

#[test]
fn another_organizations_aggregate_is_as_good_as_none() {
    let history = History::new();
    let desk = ids::mint();
    history.append(create(desk, "harbor-desk"));
    let [described, granted] = history.in_one_batch([
        of_organization("org_other", describe(desk, "taken over")),
        of_organization("org_other", grant(desk, ids::mint())),
    ]);
    rejected(described, IdentityError::NotFound);
    rejected(granted, IdentityError::NotFound);
}

#[test]
fn an_aggregate_of_another_type_is_as_good_as_none() {
    let history = History::new();
    let desk = ids::mint();
    let revoke = || ask(&desk, Command::ApiKey(api_key::Command::Revoke));
    // In the batch that creates the identity, its state is in memory. In a later batch it has to be read.
    let [created, revoked] = history.in_one_batch([create(desk, "harbor-desk"), revoke()]);
    assert_eq!(names(&created), ["identity.created"]);
    rejected(revoked, ApiKeyError::NotFound);
    let [revoked] = history.in_one_batch([revoke()]);
    rejected(revoked, ApiKeyError::NotFound);
}

#[test]
fn organizations_count_their_events_by_themselves() {
    let history = History::new();
    let [one, other] = [ids::mint(), ids::mint()];
    let _ = history.in_one_batch([
        create(one, "harbor-desk"),
        of_organization("org_other", create(other, "front-desk")),
        describe(one, "second"),
        of_organization("org_other", describe(other, "second")),
    ]);
    history.append(describe(one, "third"));
    let places: Vec<(i64, String, i64)> = history
        .events()
        .into_iter()
        .map(|recorded| (recorded.position, recorded.organization_id, recorded.organization_sequence))
        .collect();
    let expected = [(1, HARBOR, 1), (2, "org_other", 1), (3, HARBOR, 2), (4, "org_other", 2), (5, HARBOR, 3)];
    assert_eq!(places, expected.map(|(position, whose, sequence)| (position, whose.to_owned(), sequence)));
}

/// Both committers cache the aggregate, and each has to read what the other has appended.
#[test]
fn a_committer_learns_what_others_have_appended_to_what_it_remembers() {
    let history = History::new();
    let desk = ids::mint();
    let (log, committer) = history.open();
    let (other, other_committer) = history.open();
    wait(async {
        let work = async move {
            log.append(create(desk, "harbor-desk")).await.unwrap();
            for version in (1..20).step_by(2) {
                let described = describe(desk, &version.to_string());
                let there = other.append(at_version(version, described.clone())).await.unwrap();
                assert_eq!(there.version, version + 1);
                let again = log.append(described).await.unwrap();
                assert!(changes_nothing(&again, version + 1), "{again:?}");
                let here = describe(desk, &(version + 1).to_string());
                assert_eq!(log.append(at_version(version + 1, here)).await.unwrap().version, version + 2);
            }
        };
        futures::join!(work, committer.run(), other_committer.run());
    });
}

// The row is handed out with the answer, so no answer has to read or fold the history of the aggregate.
#[test]
fn every_answer_has_the_row_as_its_own_command_left_it() {
    let history = History::new();
    let [desk, viewer] = [ids::mint(), ids::mint()];
    history.append(create(viewer, "front-desk"));
    let answers = history.in_one_batch([
        create(desk, "harbor-desk"),
        describe(desk, "first"),
        describe(desk, "first"),
        grant(desk, viewer),
        describe(desk, "second"),
    ]);
    let rows = answers.map(|answer| {
        let made = answer.unwrap().made;
        let row: &Row = made.get().expect("the row is handed out");
        (row.version, row.access_version, row.document.description.clone())
    });
    let text = |text: &str| Some(text.to_owned());
    let expected = [(1, 0, None), (2, 0, text("first")), (2, 0, text("first")), (3, 3, text("first"))];
    assert_eq!(rows[..4], expected);
    assert_eq!(rows[4], (4, 3, text("second")));
    let [unchanged] = history.in_one_batch([describe(desk, "second")]);
    let made = unchanged.unwrap().made;
    assert_eq!(
        made.get::<Row>().map(|row| row.version),
        Some(4),
        "the row is handed out where nothing changes, too"
    );
}

// Whoever writes much makes others wait for one such command at most, and organizations take turns.
#[test]
fn each_bulk_command_is_a_batch_of_its_own_behind_the_commands_of_others() {
    let history = History::new();
    let [first, second, foreign, late, third, one, other] = [(); 7].map(|()| ids::mint());
    let bulk = |append: Append| Append { is_bulk: true, ..append };
    let (log, committer) = history.open();
    let commands = [
        bulk(create(first, "first-desk")),
        bulk(create(second, "second-desk")),
        create(one, "one-desk"),
        bulk(of_organization("org_other", create(foreign, "foreign-desk"))),
        bulk(of_organization("org_other", create(late, "late-desk"))),
        bulk(of_organization("org_third", create(third, "third-desk"))),
        create(other, "other-desk"),
    ];
    let answers = wait(futures::future::join(queued(log, commands), committer.run())).0;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let written: Vec<String> = history.events().into_iter().map(|event| event.aggregate_id).collect();
    assert_eq!(written, [one, other, first, foreign, third, second, late].map(|id| id.to_string()));
    assert_eq!(history.database.number("select count(distinct xmin::text) from events"), 6);
}
