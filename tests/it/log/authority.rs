//! No event of a key comes after the revocation of the key, or after the deletion of its identity.

use identity_domain::Moment;
use identity_domain::api_key::{Command as KeyCommand, Issue, Rotate, Scope};
use sqlx::Executor as _;

use super::*;

fn issued(scope: Scope) -> Issue {
    Issue {
        label: "key".to_owned(),
        description: None,
        scope,
        secret_sha256: String::new(),
        last4: String::new(),
        created_by: "operator".to_owned(),
        expires_at: None,
    }
}

fn issue(key: Uuid, scope: Scope) -> Append {
    ask(&key, Command::ApiKey(KeyCommand::Issue(Box::new(issued(scope)))))
}

/// Gives a key the secret with this digest.
fn rotate(key: Uuid, secret_sha256: &str, overlap: Duration) -> Append {
    let (secret_sha256, last4) = (secret_sha256.to_owned(), String::new());
    let rotate = Rotate { secret_sha256, last4, by: None, overlap, expires_at: None };
    ask(&key, Command::ApiKey(KeyCommand::Rotate(Box::new(rotate))))
}

fn with_secret(secret_sha256: &str, append: Append) -> Append {
    Append { secret_sha256: secret_sha256.to_owned(), ..append }
}

fn revoke(key: Uuid) -> Append {
    ask(&key, Command::ApiKey(KeyCommand::Revoke))
}

fn by(actor: Actor, append: Append) -> Append {
    Append { actor, ..append }
}

fn is_refused(answer: &Answer) -> bool {
    matches!(answer, Err(AppendError::KeyRevoked))
}

#[test]
fn a_key_acts_up_to_its_revocation_and_no_further() {
    let history = History::new();
    let [key, desk] = [ids::mint_random(), ids::mint()];
    let admin = Actor::AdminKey(key);
    history.append(issue(key, Scope::Admin));
    let answers = history.in_one_batch([
        by(admin, create(desk, "harbor-desk")),
        by(admin, revoke(key)),
        by(admin, describe(desk, "too late")),
        by(admin, describe(desk, "too late")),
        describe(desk, "by the operator"),
    ]);
    assert_eq!(answers.each_ref().map(is_refused), [false, false, true, true, false]);
    let [later] = history.in_one_batch([by(admin, describe(desk, "much too late"))]);
    assert!(is_refused(&later), "{later:?}");
}

#[test]
fn a_secret_acts_until_the_rotation_that_ends_it() {
    let history = History::new();
    let [key, desk] = [ids::mint_random(), ids::mint()];
    let by = |secret: &str, text: &str| by(Actor::AdminKey(key), with_secret(secret, describe(desk, text)));
    history.append(issue(key, Scope::Admin));
    history.append(create(desk, "harbor-desk"));
    let answers = history.in_one_batch([
        by("", "first"),
        rotate(key, "second", Duration::from_hours(1)),
        by("", "first, in the overlap"),
        by("second", "second"),
        by("third", "not yet"),
        rotate(key, "third", Duration::ZERO),
        by("", "first, too late"),
        by("second", "second, too late"),
        by("third", "third"),
    ]);
    let refused = answers.each_ref().map(is_refused);
    assert_eq!(refused, [false, false, false, false, true, false, true, true, false]);
}

#[test]
fn a_key_acts_until_it_expires() {
    let history = History::new();
    let [key, desk] = [ids::mint_random(), ids::mint()];
    let now: time::OffsetDateTime =
        wait(sqlx::query_scalar("select clock_timestamp()").fetch_one(history.database.pool())).unwrap();
    let expires_at = Moment::from(now).plus(Duration::from_secs(4));
    let issue = Issue { expires_at: Some(expires_at), ..issued(Scope::Admin) };
    history.append(ask(&key, Command::ApiKey(KeyCommand::Issue(Box::new(issue)))));
    history.append(create(desk, "harbor-desk"));
    let mut said = 0;
    eventually("the key has expired", || {
        said += 1;
        let [answer] = history.in_one_batch([by(Actor::AdminKey(key), describe(desk, &said.to_string()))]);
        is_refused(&answer)
    });
    let last = history.events().pop().unwrap();
    assert!(said > 1 && Moment::from(last.recorded_at) < expires_at, "{last:?}");
}

#[test]
fn an_agent_acts_as_long_as_its_identity_lives() {
    let history = History::new();
    let [key, desk, other] = [ids::mint_random(), ids::mint(), ids::mint()];
    history.append(create(desk, "harbor-desk"));
    history.append(create(other, "front-desk"));
    history.append(issue(key, Scope::Agent { identity_id: desk }));
    let agent = Actor::AgentKey { key, identity: desk };
    let answers = history.in_one_batch([
        by(agent, describe(desk, "in time")),
        delete(desk),
        by(agent, describe(other, "too late")),
    ]);
    assert_eq!(answers.each_ref().map(is_refused), [false, false, true]);
}

#[test]
fn a_key_of_another_organization_or_one_that_never_was_does_nothing() {
    let history = History::new();
    let [key, unknown] = [ids::mint_random(), ids::mint_random()];
    history.append(of_organization("org_other", issue(key, Scope::Admin)));
    for key in [key, unknown] {
        let [answer] = history.in_one_batch([by(Actor::AdminKey(key), create(ids::mint(), "harbor-desk"))]);
        assert!(is_refused(&answer), "{answer:?}");
    }
}

// The committer caches keys from batch to batch. Another process may revoke one in between.
#[test]
fn a_key_that_another_process_revoked_does_nothing() {
    let history = History::new();
    let [key, desk] = [ids::mint_random(), ids::mint()];
    let admin = Actor::AdminKey(key);
    history.append(issue(key, Scope::Admin));
    let (log, committer) = history.open();
    let work = async {
        log.append(by(admin, create(desk, "harbor-desk"))).await.unwrap();
        let (other, other_committer) = history.open();
        let revoked = async { other.append(revoke(key)).await.map(|_| drop(other)) };
        futures::join!(revoked, other_committer.run()).0.unwrap();
        let late = log.append(by(admin, describe(desk, "too late"))).await;
        drop(log);
        late
    };
    let (late, ()) = wait(futures::future::join(work, committer.run()));
    assert!(is_refused(&late), "{late:?}");
}

// Another session has `log_head` locked, so that commands wait. Their callers do not wait.
#[test]
fn a_command_whose_caller_went_away_is_not_carried_out() {
    let history = History::new();
    let (log, committer) = history.open();
    let pool = history.database.pool();
    let work = async move {
        let mut elsewhere = pool.acquire().await.unwrap();
        elsewhere.execute("begin; select from log_head for update").await.unwrap();
        let gone = queue(log.clone(), [create(ids::mint(), "nobody-waits")]).await;
        let waiting = queue(log, [create(ids::mint(), "somebody-waits")]).await;
        let waits =
            "select count(*) > 0 from pg_locks where not granted and locktype in ('transactionid', 'tuple')";
        becomes_true(pool, waits).await;
        drop(gone);
        elsewhere.execute("rollback").await.unwrap();
        waiting.await
    };
    let ([waited], ()) = wait(futures::future::join(work, committer.run()));
    assert!(waited.is_ok(), "{waited:?}");
    assert_eq!(history.events().len(), 1, "a command was carried out that nobody waits for");
}

#[test]
fn a_command_that_was_abandoned_in_time_is_never_carried_out() {
    let history = History::new();
    let abandoned = create(ids::mint(), "abandoned");
    assert!(abandoned.fate.abandon(), "it is not on its way yet");
    let (log, committer) = history.open();
    let work = async move {
        let abandoned = tokio::spawn({
            let log = log.clone();
            async move { log.append(abandoned).await }
        });
        let done = log.append(create(ids::mint(), "carried-out")).await;
        drop(log);
        (done, abandoned.await.unwrap())
    };
    let ((done, abandoned), ()) = wait(futures::future::join(work, committer.run()));
    assert!(done.is_ok() && abandoned.is_err(), "{done:?} {abandoned:?}");
    assert_eq!(history.events().len(), 1);
}

#[test]
fn a_command_that_is_on_its_way_cannot_be_abandoned() {
    let history = History::new();
    let append = create(ids::mint(), "harbor-desk");
    let fate = append.fate.clone();
    history.append(append);
    assert!(!fate.abandon(), "its caller must be told that it may have been carried out");
}
