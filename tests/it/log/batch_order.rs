//! A command sees what the commands before it in the same batch have done.

use identity_domain::identity::{
    Event as IdentityEvent, FilterMode, Identity, IdentityError, PhoneOrder, Visibility,
};
use identity_domain::phone::{CallHandling, UsState};
use identity_domain::vault_secret::Command as SecretCommand;
use identity_domain::{Event, Namespace, NumberWish, SecretSelection};

use super::*;

fn provision(id: Uuid, state: Option<&str>) -> Append {
    let wish = NumberWish { state: state.map(|state| UsState::parse(state).unwrap()) };
    let order = PhoneOrder {
        id: ids::mint(),
        wish,
        calls: CallHandling::default(),
        filter_mode: Some(FilterMode::Blacklist),
    };
    ask_identity(id, IdentityCommand::ProvisionPhone(order))
}

/// The phone number that a command got.
#[track_caller]
fn number(answer: &Answer) -> String {
    let events = &answer.as_ref().expect("there is a number").events;
    let [Recorded { event: Event::Identity(IdentityEvent::PhoneProvisioned { phone, .. }), .. }] =
        &events[..]
    else {
        panic!("{events:?} is no number");
    };
    phone.number.clone()
}

/// Leaves only these phone numbers in the pool.
fn stocked(history: &History, numbers: &[(&str, &str)]) {
    history.database.execute("delete from phone_number_pool");
    for (number, state) in numbers {
        let load = format!("insert into phone_number_pool (number, state) values ('{number}', '{state}')");
        history.database.execute(&load);
    }
}

fn visibility(history: &History, id: Uuid) -> Visibility {
    match loaded(history, Kind::Identity, &id.to_string(), i64::MAX).0 {
        State::Identity(Identity::Live(live)) => live.visibility,
        other => panic!("{other:?} is not live"),
    }
}

#[test]
fn a_name_given_up_in_the_batch_is_free_when_names_are_not_held() {
    let history = History::with_name_hold(Duration::ZERO);
    let [desk, next] = [ids::mint(), ids::mint()];
    let [created, away, further, taken_over] = history.in_one_batch([
        create(desk, "harbor-desk"),
        rename(desk, "front-desk"),
        rename(desk, "night-desk"),
        create(next, "front-desk"),
    ]);
    assert_eq!(names(&created), ["identity.created"]);
    assert_eq!(names(&away), ["identity.renamed"]);
    assert_eq!(names(&further), ["identity.renamed"]);
    assert_eq!(names(&taken_over), ["identity.created"]);
}

#[test]
fn a_name_given_up_in_the_batch_is_held_back_when_names_are_held() {
    let history = History::new();
    let [desk, next, dead] = [ids::mint(), ids::mint(), ids::mint()];
    let [.., too_early, back, after_death] = history.in_one_batch([
        create(desk, "harbor-desk"),
        create(dead, "late-desk"),
        rename(desk, "front-desk"),
        rename(desk, "night-desk"),
        delete(dead),
        create(next, "front-desk"),
        rename(desk, "front-desk"),
        create(next, "late-desk"),
    ]);
    rejected(too_early, IdentityError::HandleUnavailable(Namespace::Identities));
    assert_eq!(names(&back), ["identity.renamed"], "who gave up a name can take it back");
    rejected(after_death, IdentityError::HandleUnavailable(Namespace::Identities));
}

#[test]
fn the_first_name_of_a_renamed_identity_stays_taken_as_its_address() {
    let history = History::with_name_hold(Duration::ZERO);
    let [desk, next] = [ids::mint(), ids::mint()];
    let [.., while_it_lives, _, after_its_death] = history.in_one_batch([
        create(desk, "harbor-desk"),
        rename(desk, "front-desk"),
        create(next, "harbor-desk"),
        delete(desk),
        create(next, "harbor-desk"),
    ]);
    rejected(while_it_lives, IdentityError::HandleUnavailable(Namespace::Mail));
    assert_eq!(names(&after_its_death), ["identity.created"]);
}

#[test]
fn of_two_who_want_one_name_the_first_gets_it() {
    let history = History::new();
    let [first, second, third] = [ids::mint(), ids::mint(), ids::mint()];
    let [_, created, renamed, other_organization] = history.in_one_batch([
        create(first, "first-desk"),
        create(second, "harbor-desk"),
        rename(first, "harbor-desk"),
        of_organization("org_other", create(third, "harbor-desk")),
    ]);
    assert_eq!(names(&created), ["identity.created"]);
    for loser in [renamed, other_organization] {
        rejected(loser, IdentityError::HandleUnavailable(Namespace::Identities));
    }
}

#[test]
fn who_was_deleted_in_the_batch_cannot_be_granted_sight() {
    let history = History::new();
    let [desk, viewer] = [ids::mint(), ids::mint()];
    history.append(create(desk, "harbor-desk"));
    history.append(create(viewer, "front-desk"));
    let [deleted, granted] = history.in_one_batch([delete(viewer), grant(desk, viewer)]);
    assert_eq!(names(&deleted), ["identity.deleted"]);
    rejected(granted, IdentityError::ViewerNotFound);
}

#[test]
fn who_was_created_in_the_batch_can_be_granted_sight() {
    let history = History::new();
    let [desk, viewer, stranger] = [ids::mint(), ids::mint(), ids::mint()];
    let [_, too_early, _, granted, _, foreign] = history.in_one_batch([
        create(desk, "harbor-desk"),
        grant(desk, viewer),
        create(viewer, "front-desk"),
        grant(desk, viewer),
        of_organization("org_other", create(stranger, "night-desk")),
        grant(desk, stranger),
    ]);
    rejected(too_early, IdentityError::ViewerNotFound);
    assert_eq!(names(&granted), ["identity.visibility_granted"]);
    rejected(foreign, IdentityError::ViewerNotFound);
}

#[test]
fn a_narrowed_wildcard_names_who_lives_at_that_very_moment() {
    let history = History::new();
    let [desk, old, dead, young, unborn, revoked] = [(); 6].map(|()| ids::mint());
    history.append(create(old, "old-desk"));
    history.append(create(dead, "dead-desk"));
    let _ = history.in_one_batch([
        create(desk, "harbor-desk"),
        ask_identity(desk, IdentityCommand::OpenVisibility { access_id: ids::mint() }),
        create(revoked, "front-desk"),
        create(young, "young-desk"),
        of_organization("org_other", create(ids::mint(), "foreign-desk")),
        delete(dead),
        ask_identity(desk, IdentityCommand::RevokeVisibility { viewer: revoked }),
        create(unborn, "unborn-desk"),
    ]);
    assert_eq!(visibility(&history, desk), Visibility::Explicit([old, young].into()));
}

#[test]
fn all_secrets_are_those_of_that_very_moment() {
    let history = History::new();
    let [kept, dropped, new, late] = [(); 4].map(|()| ids::mint());
    history.append(register(kept, "kept"));
    history.append(register(dropped, "dropped"));
    let wish = Create { secrets: Some(SecretSelection::All), ..birth(ids::mint(), "harbor-desk") };
    let [.., answer, _] = history.in_one_batch([
        register(new, "new"),
        of_organization("org_other", register(ids::mint(), "foreign")),
        ask(&dropped, Command::VaultSecret(SecretCommand::Delete)),
        born(wish),
        register(late, "late"),
    ]);
    let granted: Vec<Uuid> = answer
        .unwrap()
        .events
        .iter()
        .filter_map(|recorded| match &recorded.event {
            Event::Identity(IdentityEvent::VaultAccessGranted { vault_secret_id, .. }) => {
                Some(*vault_secret_id)
            }
            _ => None,
        })
        .collect();
    assert_eq!(granted, [kept, new]);
}

#[test]
fn two_who_ask_for_a_number_get_two() {
    let history = History::new();
    let [first, second] = [ids::mint(), ids::mint()];
    stocked(&history, &[("+12125550100", "NY"), ("+12125550101", "NY")]);
    let [_, _, one, other] = history.in_one_batch([
        create(first, "harbor-desk"),
        create(second, "front-desk"),
        provision(first, None),
        provision(second, Some("NY")),
    ]);
    assert_eq!([number(&one), number(&other)], ["+12125550100", "+12125550101"]);
}

#[test]
fn the_last_free_number_goes_to_one() {
    let history = History::new();
    let desks = [(); 4].map(|()| ids::mint());
    let [first, second, third, elsewhere] = desks;
    stocked(&history, &[("+12125550100", "NY"), ("+13105550100", "CA")]);
    let [.., won, lost, other_state, too_late] = history.in_one_batch([
        create(first, "first-desk"),
        create(second, "second-desk"),
        create(third, "third-desk"),
        create(elsewhere, "fourth-desk"),
        provision(first, Some("NY")),
        provision(second, Some("NY")),
        provision(third, Some("CA")),
        provision(elsewhere, None),
    ]);
    assert_eq!(number(&won), "+12125550100");
    rejected(lost, IdentityError::NoNumberAvailable);
    assert_eq!(number(&other_state), "+13105550100");
    rejected(too_late, IdentityError::NoNumberAvailable);
    let [later] = history.in_one_batch([provision(second, None)]);
    rejected(later, IdentityError::NoNumberAvailable);
}

#[test]
fn a_number_offered_to_a_command_that_failed_goes_to_the_next() {
    let history = History::new();
    let [first, second] = [ids::mint(), ids::mint()];
    stocked(&history, &[("+12125550100", "NY")]);
    history.append(create(first, "harbor-desk"));
    let order = PhoneOrder {
        id: ids::mint(),
        wish: NumberWish::default(),
        calls: CallHandling::default(),
        filter_mode: Some(FilterMode::Blacklist),
    };
    let nowhere = ids::mint();
    let wish = Create {
        phone: Some(order),
        secrets: Some(SecretSelection::These(vec![nowhere])),
        ..birth(second, "front-desk")
    };
    let [failed, provisioned, retried] =
        history.in_one_batch([born(wish), provision(first, None), create(second, "front-desk")]);
    rejected(failed, IdentityError::SecretNotFound(nowhere));
    assert_eq!(number(&provisioned), "+12125550100");
    assert_eq!(names(&retried), ["identity.created"], "the name was not taken either");
}
