//! Access rows are handed out with an answer as they are right after its own command.

use identity_projections::visibility::{Rows, oldest_first};

use super::ahead::{Fate, one_after_the_other};
use super::crowds::{hide, open_to_all};
use super::*;

/// The same command, whose answer shows access rows.
fn showing(shown_access: ShownAccess, append: Append) -> Append {
    Append { shown_access, ..append }
}

/// The viewers in the access rows that are handed out, oldest first; `None` if no rows are.
#[track_caller]
fn viewers(answer: &Answer) -> Option<Vec<Option<Uuid>>> {
    let rows = answer.as_ref().unwrap().made.get::<Arc<Rows>>()?;
    Some(oldest_first(rows).into_iter().map(|row| row.viewer_id).collect())
}

fn each<const N: usize>(viewers: [Uuid; N]) -> Vec<Option<Uuid>> {
    viewers.map(Some).to_vec()
}

/// An identity at version 3 that two of three others may see.
fn of_two_viewers() -> (History, Uuid, [Uuid; 3]) {
    let (history, desk) = (History::new(), ids::mint());
    history.append(create(desk, "harbor-desk"));
    let viewers @ [first, second, _] = ["first-desk", "second-desk", "third-desk"].map(|handle| {
        let viewer = ids::mint();
        history.append(create(viewer, handle));
        viewer
    });
    history.append(grant(desk, first));
    history.append(grant(desk, second));
    (history, desk, viewers)
}

#[test]
fn what_the_commands_of_a_batch_do_is_shown_to_those_behind_them() {
    let (history, desk, [first, second, third]) = of_two_viewers();
    let unchanged = || showing(ShownAccess::ChangedAfter(3), describe(desk, "seen"));
    let answers = history.in_one_batch([
        showing(ShownAccess::All, describe(desk, "seen")),
        unchanged(),
        grant(desk, third),
        unchanged(),
        delete(first),
        unchanged(),
        hide(desk, second),
        unchanged(),
        open_to_all(desk),
        showing(ShownAccess::ChangedAfter(3), open_to_all(desk)),
    ]);
    let [described, known, _, after_grant, _, after_deletion, _, after_revocation, _, open] =
        answers.each_ref().map(viewers);
    assert_eq!([described, known], [(); 2].map(|()| Some(each([first, second]))));
    assert_eq!(after_grant, Some(each([first, second, third])));
    assert_eq!(after_deletion, Some(each([second, third])));
    assert_eq!(after_revocation, Some(each([third])));
    assert_eq!(open, Some(vec![None]));
}

#[test]
fn what_the_caller_knows_is_not_handed_out() {
    let (history, desk, [first, second, _]) = of_two_viewers();
    let shown = [
        (ShownAccess::None, None),
        (ShownAccess::ChangedAfter(3), None),
        (ShownAccess::ChangedAfter(2), Some(each([first, second]))),
        (ShownAccess::All, Some(each([first, second]))),
    ];
    for (shown, expected) in shown {
        let answer = history.in_one_batch([showing(shown, describe(desk, "seen"))]);
        assert_eq!(viewers(&answer[0]), expected, "{shown:?}");
    }
}

/// What is shown if `before` is being written while the next batch is drafted.
fn shown_after(before: impl FnOnce(Uuid, [Uuid; 3]) -> Append) -> (Vec<Option<Uuid>>, [Uuid; 3]) {
    let (history, desk, others) = of_two_viewers();
    let next = [create(ids::mint(), "night-desk"), showing(ShownAccess::All, describe(desk, "seen"))];
    let (_, [_, answer]) = one_after_the_other(&history, [before(desk, others)], next, Fate::Committed);
    (viewers(&answer).unwrap(), others)
}

#[test]
fn what_the_batch_before_does_is_shown() {
    let (shown, [_, second, _]) = shown_after(|_, [first, ..]| delete(first));
    assert_eq!(shown, each([second]));
    let (shown, others) = shown_after(|desk, [_, _, third]| grant(desk, third));
    assert_eq!(shown, each(others));
    let (shown, [first, second, _]) = shown_after(|desk, _| showing(ShownAccess::All, describe(desk, "a")));
    assert_eq!(shown, each([first, second]));
}
