//! Contract, section 4: NONE, EXPLICIT and WILDCARD, and every transition between them.

use super::*;

const OPEN: Command = Command::OpenVisibility { access_id: OTHER_ROW };

fn grant(viewer: Uuid) -> Command {
    Command::GrantVisibility { access_id: OTHER_ROW, viewer }
}

fn granted_now(viewer: Uuid) -> Event {
    Event::VisibilityGranted { grant: grant_of(viewer, OTHER_ROW) }
}

fn opened_now() -> Event {
    Event::VisibilityOpened { access_id: OTHER_ROW }
}

fn revoke(viewer: Uuid) -> Command {
    Command::RevokeVisibility { viewer }
}

fn revoked(viewer: Uuid) -> Event {
    Event::VisibilityRevoked { viewer_identity_id: viewer }
}

fn narrowed(viewer: Uuid, grants: impl IntoIterator<Item = (Uuid, Uuid)>) -> Event {
    let grants = grants.into_iter().map(|(viewer, row)| grant_of(viewer, row)).collect();
    Event::VisibilityNarrowed { viewer_identity_id: viewer, grants }
}

#[track_caller]
fn visible_to(identity: Given<Identity>, expected: &Visibility) {
    let Identity::Live(live) = identity.into_state() else { panic!("the identity lives") };
    assert_eq!(&live.visibility, expected);
}

fn explicit(viewers: impl IntoIterator<Item = Uuid>) -> Visibility {
    Visibility::Explicit(viewers.into_iter().collect())
}

#[test]
fn a_new_identity_is_seen_by_nobody() {
    visible_to(live([]), &Visibility::None);
}

#[test]
fn none_and_a_grant_make_explicit() {
    let after = live([]).with(alive()).when(&grant(ALPHA)).then([granted_now(ALPHA)]);
    visible_to(after, &explicit([ALPHA]));
}

#[test]
fn none_can_be_opened() {
    visible_to(live([]).when(&OPEN).then([opened_now()]), &Visibility::Wildcard);
}

#[test]
fn none_has_nothing_to_revoke() {
    live([]).with(alive()).when(&revoke(ALPHA)).then_err(IdentityError::NotGranted);
}

#[test]
fn explicit_takes_another_viewer() {
    let after = live([granted(ALPHA)]).with(alive()).when(&grant(BRAVO)).then([granted_now(BRAVO)]);
    visible_to(after, &explicit([ALPHA, BRAVO]));
}

#[test]
fn explicit_refuses_a_viewer_it_has() {
    live([granted(ALPHA)]).with(alive()).when(&grant(ALPHA)).then_err(IdentityError::AlreadyGranted);
}

#[test]
fn explicit_can_be_opened_and_forgets_its_viewers() {
    let after = live([granted(ALPHA), granted(BRAVO)]).when(&OPEN).then([opened_now()]);
    visible_to(after, &Visibility::Wildcard);
}

#[test]
fn explicit_loses_a_viewer_and_keeps_the_others() {
    let history = [granted(ALPHA), granted(BRAVO)];
    let after = live(history).with(alive()).when(&revoke(ALPHA)).then([revoked(ALPHA)]);
    visible_to(after, &explicit([BRAVO]));
}

#[test]
fn the_last_viewer_leaves_none_behind() {
    let after = live([granted(ALPHA)]).with(alive()).when(&revoke(ALPHA)).then([revoked(ALPHA)]);
    visible_to(after, &Visibility::None);
}

#[test]
fn explicit_does_not_revoke_whom_it_does_not_have() {
    live([granted(ALPHA)]).with(alive()).when(&revoke(BRAVO)).then_err(IdentityError::NotGranted);
    live([granted(ALPHA), granted(BRAVO), revoked(BRAVO)])
        .with(alive())
        .when(&revoke(BRAVO))
        .then_err(IdentityError::NotGranted);
}

#[test]
fn a_viewer_that_was_revoked_can_be_granted_again() {
    let history = [granted(ALPHA), revoked(ALPHA)];
    live(history).with(alive()).when(&grant(ALPHA)).then([granted_now(ALPHA)]);
}

#[test]
fn the_wildcard_makes_a_grant_redundant() {
    live([opened()]).with(alive()).when(&grant(ALPHA)).then_err(IdentityError::RedundantGrant);
}

#[test]
fn the_wildcard_is_opened_once() {
    live([opened()]).when(&OPEN).then_nothing();
}

#[test]
fn revoking_from_the_wildcard_leaves_a_row_for_each_other_live_identity() {
    let [first, second, third] = [0x11, 0x12, 0x13].map(Uuid::from_u128);
    let organization = [(TARGET, first), (ALPHA, second), (BRAVO, third), (CAROL, ROW)];
    let after = live([opened()])
        .with(alive_among(organization))
        .when(&revoke(CAROL))
        .then([narrowed(CAROL, [(ALPHA, second), (BRAVO, third)])]);
    visible_to(after, &explicit([ALPHA, BRAVO]));
}

#[test]
fn the_wildcard_without_anybody_else_is_narrowed_to_none() {
    let after = live([opened()])
        .with(alive_among([(TARGET, ROW), (CAROL, OTHER_ROW)]))
        .when(&revoke(CAROL))
        .then([narrowed(CAROL, [])]);
    visible_to(after, &Visibility::None);
}

#[test]
fn a_narrowed_wildcard_can_be_opened_again() {
    let history = [opened(), narrowed(CAROL, [(ALPHA, ROW)])];
    visible_to(live(history).when(&OPEN).then([opened_now()]), &Visibility::Wildcard);
}

#[test]
fn an_identity_is_not_its_own_viewer() {
    for history in [vec![], vec![granted(ALPHA)], vec![opened()]] {
        let target = || live(history.clone()).with(alive_among([(TARGET, ROW), (ALPHA, OTHER_ROW)]));
        target().when(&grant(TARGET)).then_err(IdentityError::ViewerIsTarget);
        target().when(&revoke(TARGET)).then_err(IdentityError::NotGranted);
    }
}

#[test]
fn only_a_live_identity_of_the_organization_can_be_granted_or_revoked() {
    for history in [vec![], vec![granted(ALPHA)], vec![opened()]] {
        live(history.clone()).when(&grant(ALPHA)).then_err(IdentityError::ViewerNotFound);
        live(history).when(&revoke(ALPHA)).then_err(IdentityError::NotGranted);
    }
}

#[test]
fn a_paused_identity_can_be_shown_and_hidden() {
    let paused = Event::StatusChanged { status: Status::Paused };
    live([paused.clone()]).with(alive()).when(&grant(ALPHA)).then([granted_now(ALPHA)]);
    live([paused]).when(&OPEN).then([opened_now()]);
}

#[test]
fn grants_ask_for_the_viewer_and_revocations_for_all_who_are_live() {
    let viewer = Needs { identity: Some(ALPHA), ..Needs::default() };
    assert_eq!(Identity::needs(&grant(ALPHA)), viewer);
    assert_eq!(Identity::needs(&revoke(ALPHA)), Needs { all_identities: true, ..viewer });
    assert_eq!(Identity::needs(&OPEN), Needs::default());
}
