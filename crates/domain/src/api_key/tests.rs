use super::*;
use crate::testing::Given;

const IDENTITY: Uuid = Uuid::from_u128(0xa);

fn given(history: impl IntoIterator<Item = Event>) -> Given<ApiKey> {
    crate::testing::given(history)
}

fn issue(scope: Scope) -> Issue {
    Issue {
        label: "laptop".to_owned(),
        description: Some(String::new()),
        scope,
        secret_sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        last4: "x7Qd".to_owned(),
        created_by: "operator".to_owned(),
        expires_at: None,
    }
}

fn issued_until(expires_at: Option<Moment>) -> Event {
    Event::Issued(Issue { expires_at, ..issue(Scope::Admin) })
}

/// So many seconds after the beginning of 1970.
fn at(seconds: u64) -> Moment {
    Moment::default().plus(Duration::from_secs(seconds))
}

fn facts_at(seconds: u64) -> Facts {
    Facts { now: at(seconds), ..Facts::default() }
}

fn rotating(secret: &str, overlap: Duration, expires_at: Option<Moment>) -> Command {
    let (secret_sha256, last4) = (secret.to_owned(), "k9Zq".to_owned());
    Command::Rotate(Box::new(Rotate { secret_sha256, last4, by: None, overlap, expires_at }))
}

fn rotated(secret: &str, expires_at: Option<Moment>, previous_valid_until: Moment) -> Event {
    let (secret_sha256, last4) = (secret.to_owned(), "k9Zq".to_owned());
    Event::Rotated { secret_sha256, last4, expires_at, previous_valid_until }
}

fn issuing(scope: Scope) -> Command {
    Command::Issue(Box::new(issue(scope)))
}

const AGENT: Scope = Scope::Agent { identity_id: IDENTITY };

fn issued() -> Event {
    Event::Issued(issue(Scope::Admin))
}

fn alive() -> Facts {
    Facts { identity_is_live: true, ..Facts::default() }
}

#[test]
fn a_key_of_the_whole_organization_is_issued_as_asked() {
    given([]).when(&issuing(Scope::Admin)).then([issued()]).is(&given([issued()]).into_state());
}

#[test]
fn a_key_of_one_identity_is_issued_while_that_identity_lives() {
    given([]).with(alive()).when(&issuing(AGENT)).then([Event::Issued(issue(AGENT))]);
}

#[test]
fn a_key_of_an_identity_that_is_not_there_is_refused() {
    given([]).when(&issuing(AGENT)).then_err(ApiKeyError::IdentityNotFound);
}

#[test]
fn a_key_is_issued_once() {
    for scope in [Scope::Admin, AGENT] {
        given([issued()]).with(alive()).when(&issuing(scope)).then_err(ApiKeyError::AlreadyIssued);
        given([issued(), Event::Revoked {}])
            .with(alive())
            .when(&issuing(scope))
            .then_err(ApiKeyError::AlreadyIssued);
    }
}

#[test]
fn a_key_can_be_revoked() {
    given([issued()]).when(&Command::Revoke).then([Event::Revoked {}]).is(&ApiKey::Revoked);
}

#[test]
fn revoking_a_revoked_key_comes_to_nothing() {
    given([issued(), Event::Revoked {}]).when(&Command::Revoke).then_nothing();
}

#[test]
fn a_key_that_never_was_cannot_be_revoked() {
    given([]).when(&Command::Revoke).then_err(ApiKeyError::NotFound);
}

#[test]
fn only_a_key_of_one_identity_asks_for_that_identity() {
    assert_eq!(ApiKey::needs(&issuing(AGENT)), Needs { identity: Some(IDENTITY), ..Needs::default() });
    assert_eq!(ApiKey::needs(&issuing(Scope::Admin)), Needs::default());
    assert_eq!(ApiKey::needs(&Command::Revoke), Needs::default());
}

#[test]
fn a_key_expires_in_the_future_and_within_ten_years() {
    let issuing = |expires_at| Command::Issue(Box::new(Issue { expires_at, ..issue(Scope::Admin) }));
    let last = at(60).plus(MAX_LIFETIME);
    for fitting in [Some(at(61)), Some(last), None] {
        given([]).with(facts_at(60)).when(&issuing(fitting)).then([issued_until(fitting)]);
        let change = rotated("b", fitting, at(60));
        given([issued()]).with(facts_at(60)).when(&rotating("b", Duration::ZERO, fitting)).then([change]);
    }
    for (unfit, refusal) in [
        (at(60), ApiKeyError::ExpiryNotAhead),
        (at(0), ApiKeyError::ExpiryNotAhead),
        (last.plus(Duration::from_micros(1)), ApiKeyError::ExpiryTooFar),
    ] {
        given([]).with(facts_at(60)).when(&issuing(Some(unfit))).then_err(refusal.clone());
        let rotating = rotating("b", Duration::ZERO, Some(unfit));
        given([issued()]).with(facts_at(60)).when(&rotating).then_err(refusal);
    }
}

#[test]
fn a_key_is_valid_until_it_expires() {
    let digest = issue(Scope::Admin).secret_sha256;
    let key = given([issued_until(Some(at(60)))]).into_state();
    assert_eq!([0, 59, 60, 61].map(|now| key.is_valid_for(&digest, at(now))), [true, true, false, false]);
    assert!(!key.is_valid_for("another", at(0)));
    assert!(given([issued()]).into_state().is_valid_for(&digest, at(u64::from(u32::MAX))));
    assert!(!given([issued(), Event::Revoked {}]).into_state().is_valid_for(&digest, at(0)));
    assert!(!given([]).into_state().is_valid_for(&digest, at(0)));
}

#[test]
fn after_a_rotation_the_previous_secret_is_valid_until_the_overlap_ends() {
    let first = issue(Scope::Admin).secret_sha256;
    let command = rotating("second", Duration::from_secs(10), None);
    let rotation = rotated("second", None, at(70));
    let key = given([issued()]).with(facts_at(60)).when(&command).then([rotation.clone()]).into_state();
    assert_eq!([60, 69, 70].map(|now| key.is_valid_for(&first, at(now))), [true, true, false]);
    assert_eq!([60, 69, 70].map(|now| key.is_valid_for("second", at(now))), [true; 3]);
    let again = rotating("third", Duration::from_secs(10), None);
    let key = given([issued(), rotation]).with(facts_at(61)).when(&again);
    let key = key.then([rotated("third", None, at(71))]).into_state();
    let valid = [first.as_str(), "second", "third"].map(|secret| key.is_valid_for(secret, at(61)));
    assert_eq!(valid, [false, true, true], "the oldest secret ends at once");
}

#[test]
fn the_previous_secret_does_not_outlive_the_key() {
    for (before, asked, after, previous) in [
        (Some(at(63)), Some(at(90)), Some(at(90)), at(63)),
        (Some(at(63)), None, Some(at(63)), at(63)),
        (None, Some(at(65)), Some(at(65)), at(65)),
        (Some(at(90)), None, Some(at(90)), at(70)),
    ] {
        let command = rotating("second", Duration::from_secs(10), asked);
        let rotation = rotated("second", after, previous);
        given([issued_until(before)]).with(facts_at(60)).when(&command).then([rotation]);
    }
}

#[test]
fn what_is_no_valid_key_is_not_rotated() {
    let command = rotating("second", Duration::ZERO, None);
    given([]).when(&command).then_err(ApiKeyError::NotFound);
    given([issued(), Event::Revoked {}]).when(&command).then_err(ApiKeyError::Ended);
    given([issued_until(Some(at(60)))]).with(facts_at(60)).when(&command).then_err(ApiKeyError::Ended);
    let too_long = rotating("second", MAX_OVERLAP + Duration::from_secs(1), None);
    given([issued()]).when(&too_long).then_err(ApiKeyError::OverlapTooLong);
}

#[test]
fn revoking_ends_both_secrets() {
    let rotation = rotated("second", None, at(70));
    let key = given([issued(), rotation]).when(&Command::Revoke).then([Event::Revoked {}]).into_state();
    assert_eq!(
        [&issue(Scope::Admin).secret_sha256, "second"].map(|secret| key.is_valid_for(secret, at(0))),
        [false; 2]
    );
}

#[test]
fn a_key_rotates_itself_with_its_present_secret_only() {
    let by = |secret: &str| {
        let Command::Rotate(rotate) = rotating("third", Duration::ZERO, None) else { unreachable!() };
        Command::Rotate(Box::new(Rotate { by: Some(secret.to_owned()), ..*rotate }))
    };
    let first = issue(Scope::Admin).secret_sha256;
    let history = || given([issued_until(None), rotated("second", None, at(100))]).with(facts_at(10));
    history().when(&by("second")).then([rotated("third", None, at(10))]);
    history().when(&by(&first)).then_err(ApiKeyError::NotThePresentSecret);
}
