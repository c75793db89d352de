//! A batch that is drafted ahead writes the same as a batch that is drafted under the lock.

use identity_domain::Namespace;
use identity_domain::identity::IdentityError;
use identity_log::idempotency::{Compose, Kept, NotComposed, Repeatable};
use identity_log::past;
use sqlx::{Executor as _, PgConnection, PgPool};
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use super::*;

/// Waits until this many connections of committers are in a state.
async fn committers(pool: &PgPool, count: i64, state: &str) {
    let query = format!(
        "select count(*) from pg_stat_activity
         where datname = current_database() and application_name = 'identityd committer' and {state}"
    );
    becomes_true(pool, &format!("select ({query}) = {count}")).await;
}

/// The state of a committer that waits for a lock of the test or of another committer.
const STUCK: &str = "wait_event_type = 'Lock'";

/// What happens to the batch that is being written.
pub(super) enum Fate {
    Committed,
    Refused,
}

/// A batch whose statement waits for a lock of the test.
struct Stuck<const N: usize> {
    barrier: PgConnection,
    /// When it began to wait, by the clock of the database.
    since: String,
    answers: JoinHandle<[Answer; N]>,
}

impl<const N: usize> Stuck<N> {
    /// Writes a batch that gets stuck. Two batches come first, so that the committer drafts ahead.
    async fn write(pool: &PgPool, log: &Log, appends: [Append; N]) -> Self {
        for handle in ["warm-desk", "warmer-desk"] {
            log.append(create(ids::mint(), handle)).await.unwrap();
        }
        let mut barrier = pool.acquire().await.unwrap().detach();
        barrier.execute("begin; lock table read_model.identities in share mode").await.unwrap();
        let answers = tokio::spawn(queue(log.clone(), appends).await);
        committers(pool, 1, STUCK).await;
        let since = sqlx::query_scalar("select clock_timestamp()::text").fetch_one(pool).await.unwrap();
        Self { barrier, since, answers }
    }

    /// Waits until the next batch is being drafted.
    async fn drafts_another(&self, pool: &PgPool) {
        let drafting = format!("state = 'idle' and query_start > '{}'", self.since);
        committers(pool, 1, &drafting).await;
    }

    /// Appends another batch, and lets the stuck one go on as soon as the next one is being drafted. The first command
    /// of the next batch must look up a name, since the test notices the draft by that query.
    async fn then<const M: usize>(
        mut self,
        pool: &PgPool,
        log: Log,
        next: [Append; M],
        fate: Fate,
    ) -> ([Answer; N], [Answer; M]) {
        let next = tokio::spawn(queue(log, next).await);
        self.drafts_another(pool).await;
        if let Fate::Refused = fate {
            let cut = format!(
                "select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and {STUCK}"
            );
            pool.execute(cut.as_str()).await.unwrap();
        }
        self.barrier.execute("rollback").await.unwrap();
        (self.answers.await.unwrap(), next.await.unwrap())
    }
}

/// Appends commands in one batch and, while it is being written, others in the next.
pub(super) fn one_after_the_other<const N: usize, const M: usize>(
    history: &History,
    first: [Append; N],
    next: [Append; M],
    fate: Fate,
) -> ([Answer; N], [Answer; M]) {
    let (log, committer) = history.open();
    let pool = history.database.pool();
    let work = async move {
        let stuck = Stuck::write(pool, &log, first).await;
        stuck.then(pool, log, next, fate).await
    };
    wait(futures::future::join(work, committer.run())).0
}

/// Asserts that these events were written in one transaction. If the database had refused the batch, its commands would
/// have been tried one by one.
fn at_once(history: &History, events: &[Recorded]) {
    let first = events.first().expect("something was written").position;
    let transactions = format!("select count(distinct xmin::text) from events where position >= {first}");
    assert_eq!(history.database.number(&transactions), 1);
    assert!(history.events().ends_with(events));
}

#[test]
fn what_the_batch_before_does_is_known() {
    let history = History::new();
    let [desk, first, second] = [(); 3].map(|()| ids::mint());
    history.append(create(desk, "harbor-desk"));
    let ([renamed], [behind, given_up, back, taken, described]) = one_after_the_other(
        &history,
        [rename(desk, "front-desk")],
        [
            at_version(1, rename(desk, "night-desk")),
            create(first, "harbor-desk"),
            rename(desk, "harbor-desk"),
            create(second, "front-desk"),
            at_version(3, describe(desk, "seen")),
        ],
        Fate::Committed,
    );
    assert!(matches!(behind, Err(AppendError::VersionConflict { actual: 2 })), "{behind:?}");
    for refused in [given_up, taken] {
        rejected(refused, IdentityError::HandleUnavailable(Namespace::Identities));
    }
    renamed.unwrap();
    at_once(&history, &[back, described].map(|told| told.unwrap().events).concat());
}

/// The claims on names: the handle, the mail address, and the identity.
fn kept(history: &History) -> Vec<(String, String, Uuid)> {
    let rows = sqlx::query_as(
        "select agent_handle, split_part(email_address, '@', 1), id
         from read_model.identities
         where agent_handle !~ '^warm'
         order by agent_handle",
    );
    wait(rows.fetch_all(history.database.pool())).unwrap()
}

/// Names are parked while they pass from one identity to another. A handle that looks like an id must not collide with
/// them.
#[test]
fn a_name_can_pass_from_one_to_another_within_a_batch() {
    let history = History::with_name_hold(Duration::ZERO);
    let [desk, next, dead, heir, alike] = [(); 5].map(|()| ids::mint());
    history.append(create(desk, "harbor-desk"));
    history.append(create(next, "front-desk"));
    history.append(create(dead, "late-desk"));
    history.append(create(alike, &desk.to_string()));
    history.append(rename(desk, "night-desk"));
    let (_, passed_on) = one_after_the_other(
        &history,
        [describe(desk, "seen")],
        [rename(desk, "day-desk"), rename(next, "night-desk"), delete(dead), create(heir, "late-desk")],
        Fate::Committed,
    );
    at_once(&history, &passed_on.map(|told| told.unwrap().events).concat());
    let expected = [
        (&*desk.to_string(), &*desk.to_string(), alike),
        ("day-desk", "harbor-desk", desk),
        ("late-desk", "late-desk", heir),
        ("night-desk", "front-desk", next),
    ];
    let expected = expected.map(|(handle, mail, id)| (handle.to_owned(), mail.to_owned(), id));
    assert_eq!(kept(&history), expected);
}

/// A past moment that was answered once does not change any more.
#[test]
fn no_event_is_older_than_a_past_that_was_settled_before_it() {
    let history = History::new();
    let (log, committer) = history.open();
    let pool = history.database.pool();
    let work = async move {
        let stuck = Stuck::write(pool, &log, [create(ids::mint(), "harbor-desk")]).await;
        let next = tokio::spawn(queue(log, [create(ids::mint(), "night-desk")]).await);
        stuck.drafts_another(pool).await;
        let drafted: OffsetDateTime =
            sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await.unwrap();
        let microseconds = drafted.unix_timestamp_nanos() / 1000;
        let drafted_text = format!("'epoch'::timestamptz + interval '{microseconds} microseconds'");
        let long_ago = format!("select clock_timestamp() > {drafted_text} + interval '60 milliseconds'");
        becomes_true(pool, &long_ago).await;
        let mut barrier = stuck.barrier;
        let asked = past::is_settled(pool, drafted);
        let (settled, _) = futures::join!(asked, barrier.execute("rollback"));
        assert!(settled.unwrap());
        let [created] = next.await.unwrap();
        (drafted, created.unwrap().events)
    };
    let ((drafted, events), ()) = wait(futures::future::join(work, committer.run()));
    assert!(events.iter().all(|event| event.recorded_at > drafted), "{drafted} is before all of {events:?}");
}

#[test]
fn what_the_batch_before_did_not_come_to_is_not_so() {
    let history = History::new();
    let [desk, first] = [(); 2].map(|()| ids::mint());
    history.append(create(desk, "harbor-desk"));
    let ([lost], [renamed, created]) = one_after_the_other(
        &history,
        [rename(desk, "front-desk")],
        [at_version(1, rename(desk, "night-desk")), create(first, "front-desk")],
        Fate::Refused,
    );
    assert!(matches!(lost, Err(AppendError::Unavailable(_))), "{lost:?}");
    at_once(&history, &[renamed, created].map(|told| told.unwrap().events).concat());
}

/// Another process gets the lock while the first batch is stuck. Both batches have to be drafted again.
#[test]
fn what_another_process_does_in_between_is_seen() {
    let history = History::new();
    let (log, committer) = history.open();
    let (other, other_committer) = history.open();
    let pool = history.database.pool();
    let work = async move {
        let stuck = Stuck::write(pool, &log, [create(ids::mint(), "harbor-desk")]).await;
        let theirs = tokio::spawn(queue(other, [create(ids::mint(), "night-desk")]).await);
        committers(pool, 2, STUCK).await;
        let ours = [create(ids::mint(), "night-desk")];
        let ([created], [ours]) = stuck.then(pool, log, ours, Fate::Committed).await;
        let [theirs] = theirs.await.unwrap();
        created.unwrap();
        let (won, lost) = if ours.is_ok() { (ours, theirs) } else { (theirs, ours) };
        rejected(lost, IdentityError::HandleUnavailable(Namespace::Identities));
        won.unwrap()
    };
    let (won, ..) = wait(futures::future::join3(work, committer.run(), other_committer.run()));
    assert!(won.events.iter().all(|event| history.events().contains(event)));
}

/// A row that a rebuild has corrected is not overwritten with a row that was read before.
#[test]
fn what_was_read_before_a_read_model_was_made_anew_is_forgotten() {
    let history = History::new();
    let desk = ids::mint();
    history.append(create(desk, "harbor-desk"));
    history.database.execute("update read_model.identities set tunnel_metadata = '{\"wrong\":1}'");
    let (log, committer) = history.open();
    let pool = history.database.pool();
    let work = async move {
        let stuck = Stuck::write(pool, &log, [describe(desk, "seen")]).await;
        drop(log);
        let mut barrier = stuck.barrier;
        let anew = "update read_model.identities set tunnel_metadata = '{}';
                    update log_head set generation = generation + 1;
                    commit";
        barrier.execute(anew).await.unwrap();
        let [described] = stuck.answers.await.unwrap();
        described.unwrap();
    };
    wait(futures::future::join(work, committer.run()));
    let wrong = "select count(*) from read_model.identities where tunnel_metadata <> '{}'";
    assert_eq!(history.database.number(wrong), 0);
}

struct Nothing;

impl Compose for Nothing {
    fn compose(&self, _: &Committed) -> Result<Kept, NotComposed> {
        Ok(Kept { status: 204, body: String::new(), entity_tag: String::new() })
    }
}

fn under_key(append: Append) -> Append {
    let repeatable = Repeatable { key: "once".to_owned(), fingerprint: [0; 32], answer: Arc::new(Nothing) };
    Append { repeatable: Some(repeatable), ..append }
}

/// The other command changes nothing, so `log_head` is unchanged.
#[test]
fn a_key_that_another_process_uses_in_between_is_used() {
    let history = History::new();
    let desk = ids::mint();
    history.append(create(desk, "harbor-desk"));
    history.append(describe(desk, "seen"));
    let (log, committer) = history.open();
    let (other, other_committer) = history.open();
    let pool = history.database.pool();
    let work = async move {
        let stuck = Stuck::write(pool, &log, [create(ids::mint(), "night-desk")]).await;
        let next = tokio::spawn(queue(log, [under_key(create(ids::mint(), "front-desk"))]).await);
        stuck.drafts_another(pool).await;
        let unchanged = other.append(under_key(describe(desk, "seen"))).await.unwrap();
        assert!(unchanged.events.is_empty());
        let mut barrier = stuck.barrier;
        barrier.execute("rollback").await.unwrap();
        let [repeated] = next.await.unwrap();
        repeated
    };
    let (repeated, ..) = wait(futures::future::join3(work, committer.run(), other_committer.run()));
    assert!(matches!(repeated, Err(AppendError::Repeated)), "{repeated:?}");
}

#[test]
fn a_key_that_the_batch_before_uses_is_used() {
    let history = History::new();
    let ([done], [repeated, one, other]) = one_after_the_other(
        &history,
        [under_key(create(ids::mint(), "harbor-desk"))],
        [
            under_key(create(ids::mint(), "night-desk")),
            create(ids::mint(), "front-desk"),
            create(ids::mint(), "back-desk"),
        ],
        Fate::Committed,
    );
    assert!(done.is_ok(), "{done:?}");
    assert!(matches!(repeated, Err(AppendError::Repeated)), "{repeated:?}");
    at_once(&history, &[one, other].map(|told| told.unwrap().events).concat());
}
