//! Writes that the database itself refuses.

use sqlx::Executor as _;

use super::*;

/// The SQLSTATE that the triggers of the log raise.
const RESTRICT_VIOLATION: &str = "23001";

#[track_caller]
fn failed(answer: &Answer) {
    assert!(matches!(answer, Err(AppendError::Failed(_))), "{answer:?} is no failure");
}

/// What somebody has put on a table refuses the command.
fn altered(answer: &Answer) {
    assert!(matches!(answer, Err(AppendError::Altered(_))), "{answer:?}");
}

#[test]
fn a_command_that_the_database_refuses_takes_no_other_with_it() {
    let history = History::new();
    let [desk, next, last] = [ids::mint(), ids::mint(), ids::mint()];
    history.append(create(desk, "harbor-desk"));
    history.database.execute(
        "alter table events add constraint no_such_description
         check (payload->>'description' is distinct from 'unspeakable')",
    );
    let (log, committer) = history.open();
    let commands = [
        at_version(1, describe(desk, "before")),
        at_version(2, describe(desk, "unspeakable")),
        create(next, "front-desk"),
        at_version(2, describe(desk, "after")),
        born(Create { description: Some("unspeakable".to_owned()), ..birth(last, "night-desk") }),
        create(last, "night-desk"),
    ];
    let [before, refused, created, after, stillborn, reborn] =
        wait(futures::future::join(queued(log, commands), committer.run())).0;
    altered(&refused);
    altered(&stillborn);
    let told: Vec<Recorded> =
        [before, created, after, reborn].into_iter().flat_map(|answer| answer.unwrap().events).collect();
    assert_eq!(history.events().split_off(1), told);
    let positions: Vec<i64> = history.events().iter().map(|recorded| recorded.position).collect();
    assert_eq!(positions, [1, 2, 3, 4, 5]);
}

#[test]
fn a_text_that_json_in_the_database_cannot_hold_fails_by_itself() {
    let history = History::new();
    let [desk, next] = [ids::mint(), ids::mint()];
    history.append(create(desk, "harbor-desk"));
    let (log, committer) = history.open();
    let commands = [describe(desk, "nul\0"), create(next, "front-desk")];
    let [refused, created] = wait(futures::future::join(queued(log, commands), committer.run())).0;
    failed(&refused);
    assert_eq!(names(&created), ["identity.created"]);
}

#[test]
fn history_cannot_be_changed() {
    let history = History::new();
    history.append(create(ids::mint(), "harbor-desk"));
    let before = history.events();
    for statement in [
        "update events set payload = '{}'",
        "update events set position = position where false",
        "delete from events",
        "delete from events where position = 1",
        "truncate events",
        "truncate events cascade",
        "insert into events select * from events on conflict (position) do update set payload = '{}'",
        "with gone as (delete from events returning 1) select count(*) from gone",
    ] {
        let refused = wait(history.database.pool().execute(statement)).expect_err(statement);
        let code = refused
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .map(std::borrow::Cow::into_owned);
        assert_eq!(code.as_deref(), Some(RESTRICT_VIOLATION), "{statement}: {refused}");
    }
    assert_eq!(history.events(), before);
}
