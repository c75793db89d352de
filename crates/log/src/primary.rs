//! What this process knows of the database that it talks to: whether it answers, and whether it is still the primary.
//!
//! - **Silence.** A machine that hangs, or a network that drops packets, does not close connections. Whoever waits for such
//!   a database would wait until the kernel gives up, after minutes. So one task asks a small question four times a second.
//!   If a question was not answered, and the time limit has passed since it was asked, everybody gives up who has waited for
//!   that long. They also give up if another machine answers by now: nobody knows over which connection they wait.
//! - **Confirmation.** A primary that is cut off from its standbys, or does not notice that one of them has replaced it, still
//!   answers reads. It cannot commit any more, though, if commits wait for a standby. So where
//!   `synchronous_standby_names` is set, [`confirming`] commits something small three times a second, and what was read is
//!   known to be current only as of the last such commit.
//!
//! Where no standby is named, an answer to a read is all the confirmation there is.

pub mod confirming;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgConnection;
use tokio::sync::watch;

/// How the database takes part in replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A primary whose commits wait for no standby.
    Alone,
    /// A primary whose commits wait until a standby has them.
    Synchronous,
    /// A standby, or a server that still recovers. It takes no writes, and its primary may be ahead of it.
    Standby,
}

impl Role {
    pub(crate) fn of(recovers: bool, names_standbys: bool) -> Self {
        match (recovers, names_standbys) {
            (true, _) => Self::Standby,
            (false, true) => Self::Synchronous,
            (false, false) => Self::Alone,
        }
    }
}

/// The database did not answer for longer than the time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the database has not answered anything for {0:?}")]
pub struct Silent(pub Duration);

/// A time without answers. It is forgotten when everybody who waited meanwhile was told of it.
#[derive(Debug)]
struct Unanswered {
    /// When the first question was asked that was not answered.
    since: Instant,
    /// When the first question was asked that was answered again.
    until: Option<Instant>,
}

/// What is known of the database. Cheap to clone; clones share what they know.
#[derive(Debug, Clone)]
pub struct Primary(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    /// How long the database may be silent before nobody waits for it any more.
    timeout: Duration,
    /// How long reads are answered without a confirmation.
    max_unconfirmed: Duration,
    role: watch::Sender<Role>,
    /// Whether nothing was answered for longer than the time limit.
    silent: watch::Sender<bool>,
    /// Who has waited since before this moment waits in vain.
    hopeless_before: watch::Sender<Option<Instant>>,
    unanswered: Mutex<Option<Unanswered>>,
    /// When the last question was asked whose answer proves that this is the primary, in microseconds since `start`.
    confirmed: AtomicU64,
}

impl Primary {
    /// Nothing is known yet: the database is taken for one that answers, and for a primary without standbys.
    pub fn new(timeout: Duration, max_unconfirmed: Duration) -> Self {
        Self(Arc::new(Inner {
            start: Instant::now(),
            timeout,
            max_unconfirmed,
            role: watch::Sender::new(Role::Alone),
            silent: watch::Sender::new(false),
            hopeless_before: watch::Sender::new(None),
            unanswered: Mutex::default(),
            confirmed: AtomicU64::new(0),
        }))
    }

    /// Notes the answer to a question that was asked at this moment.
    pub fn answered(&self, asked: Instant, role: Role) {
        self.responded(asked);
        self.0.role.send_if_modified(|known| std::mem::replace(known, role) != role);
        if role == Role::Alone {
            self.confirmed(asked);
        }
    }

    /// Notes that a question was answered, if only with an error: the database is not silent.
    pub fn responded(&self, asked: Instant) {
        let mut unanswered = self.0.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(unanswered) = unanswered.as_mut() {
            unanswered.until.get_or_insert(asked);
        }
        self.0.silent.send_if_modified(|silent| std::mem::replace(silent, false));
        self.tell(&mut unanswered);
    }

    /// Notes that a question which was asked at this moment was not answered.
    pub fn not_answered(&self, asked: Instant) {
        let mut unanswered = self.0.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        unanswered.get_or_insert(Unanswered { since: asked, until: None }).until = None;
        self.tell(&mut unanswered);
    }

    /// Tells those who have waited for longer than the time limit.
    fn tell(&self, unanswered: &mut Option<Unanswered>) {
        let Some(Unanswered { until, .. }) =
            unanswered.take_if(|unanswered| unanswered.since.elapsed() > self.0.timeout)
        else {
            return;
        };
        self.0.hopeless_before.send_replace(Some(until.unwrap_or_else(Instant::now)));
        if until.is_none() {
            // The next answer ends the silence; until then it has lasted for longer than the limit.
            let since = Instant::now().checked_sub(self.0.timeout).unwrap_or_else(Instant::now);
            *unanswered = Some(Unanswered { since, until });
            self.0.silent.send_if_modified(|silent| !std::mem::replace(silent, true));
        }
    }

    /// Notes that a commit, which was asked for at this moment, was confirmed.
    fn confirmed(&self, asked: Instant) {
        self.0.confirmed.fetch_max(self.micros(asked), Ordering::AcqRel);
    }

    /// As of when an answer to a question that was asked at this moment is known to be the answer of the primary; `None` if
    /// it is not.
    pub fn known_current(&self, asked: Instant, role: Role) -> Option<Instant> {
        let confirmed = Duration::from_micros(self.0.confirmed.load(Ordering::Acquire));
        match role {
            Role::Alone => Some(asked),
            Role::Synchronous => Some(asked.min(self.0.start + confirmed)),
            Role::Standby => None,
        }
    }

    /// How the database takes part in replication.
    pub fn role(&self) -> Role {
        *self.0.role.borrow()
    }

    /// Whether what is read may be out of date: this is a standby, or nothing has confirmed for too long that this is the primary.
    pub fn may_be_stale(&self) -> bool {
        match self.role() {
            Role::Alone => false,
            Role::Synchronous => self.age(&self.0.confirmed) > self.0.max_unconfirmed,
            Role::Standby => true,
        }
    }

    /// Whether a connection that was opened at this moment leads to a database that has not answered since.
    pub fn has_lost(&self, opened: Instant) -> bool {
        self.0.hopeless_before.borrow().is_some_and(|before| opened <= before)
    }

    /// Completes when the database has been silent for longer than the time limit, now or at any time since this was called.
    async fn falls_silent(&self) -> Silent {
        let began = Instant::now();
        let is_silent = |silent: &bool| *silent;
        let is_hopeless = move |before: &Option<Instant>| before.is_some_and(|before| began <= before);
        tokio::select! {
            () = becomes(&self.0.silent, is_silent) => {}
            () = becomes(&self.0.hopeless_before, is_hopeless) => {}
        }
        Silent(self.0.timeout)
    }

    /// Completes when the database answers, at once unless it is silent.
    pub async fn answers(&self) {
        if !*self.0.silent.borrow() {
            return;
        }
        becomes(&self.0.silent, |silent| !*silent).await;
    }

    /// Waits for work that needs the database, unless the database falls silent.
    pub async fn unless_silent<T>(&self, work: impl Future<Output = T>) -> Result<T, Silent> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            silent = self.falls_silent() => Err(silent),
        }
    }

    fn micros(&self, moment: Instant) -> u64 {
        u64::try_from(moment.duration_since(self.0.start).as_micros()).unwrap_or(u64::MAX)
    }

    fn age(&self, noted: &AtomicU64) -> Duration {
        self.0.start.elapsed().saturating_sub(Duration::from_micros(noted.load(Ordering::Acquire)))
    }
}

/// Waits until a value is as wanted.
async fn becomes<T>(sender: &watch::Sender<T>, is_wanted: impl Fn(&T) -> bool) {
    if sender.subscribe().wait_for(is_wanted).await.map(drop).is_err() {
        // The sender lives as long as whoever waits.
        std::future::pending::<()>().await;
    }
}

/// Commits a record that changes nothing, so that the WAL has to be written, and a standby has to have it where commits wait for
/// one. Unlike a row that is updated again and again, it leaves no dead rows. A server that does not let us is made to write the
/// WAL by a lock on a row that nobody else locks for long.
pub async fn commit_nothing(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let record = sqlx::query("select pg_logical_emit_message(true, 'identityd', '')");
    match record.execute(&mut *connection).await {
        Err(sqlx::Error::Database(error)) if is_not_offered(error.code().as_deref()) => {
            let lock = sqlx::query("select from read_models order by name limit 1 for key share");
            lock.execute(connection).await.map(drop)
        }
        outcome => outcome.map(drop),
    }
}

/// A commit that took longer than this may have been reported without being confirmed: where commits wait for a standby, Postgres
/// ends that wait with success and a warning if an operator cancels it.
const MAX_SURE_COMMIT_TIME: Duration = Duration::from_millis(250);

/// Whether a commit that began at this moment, and was just reported as successful, may not be confirmed.
pub fn may_be_unconfirmed(began: Instant) -> bool {
    began.elapsed() > MAX_SURE_COMMIT_TIME
}

/// Confirms a commit that began at this moment and was just reported as successful: if it took long, by one more commit over the same
/// connection, which waits for the standby again. If this fails, the first commit may be lost in a failover.
pub(crate) async fn confirm_if_slow(
    connection: &mut PgConnection,
    began: Instant,
) -> Result<(), sqlx::Error> {
    if may_be_unconfirmed(began) { commit_nothing(connection).await } else { Ok(()) }
}

/// Whether the function is missing, or reserved to others.
fn is_not_offered(code: Option<&str>) -> bool {
    matches!(code, Some("42883" | "42501" | "0A000"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use futures::FutureExt as _;

    use super::{Primary, Role, Silent};

    #[tokio::test]
    async fn whoever_waits_is_told_of_silence_until_there_is_an_answer() {
        let primary = Primary::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(primary.falls_silent().now_or_never(), None);
        primary.not_answered(Instant::now());
        assert_eq!(primary.unless_silent(std::future::pending::<()>()).await, Err(Silent(Duration::ZERO)));
        assert_eq!(primary.unless_silent(std::future::ready(7)).await, Ok(7), "what is done is done");
        primary.answered(Instant::now(), Role::Alone);
        assert_eq!(primary.falls_silent().now_or_never(), None);
    }

    #[tokio::test]
    async fn whoever_waits_over_a_lost_connection_is_told_although_another_machine_answers() {
        let primary = Primary::new(Duration::ZERO, Duration::ZERO);
        let mut waiting = Box::pin(primary.falls_silent());
        assert_eq!((&mut waiting).now_or_never(), None);
        {
            let mut unanswered = primary.0.unanswered.lock().unwrap();
            *unanswered = Some(super::Unanswered { since: Instant::now(), until: None });
        }
        primary.answered(Instant::now(), Role::Alone);
        let late = Instant::now();
        assert_eq!(waiting.await, Silent(Duration::ZERO));
        assert!(primary.0.hopeless_before.borrow().is_some_and(|before| before < late));
        assert_eq!(primary.falls_silent().now_or_never(), None, "who comes later has nothing to fear");
    }

    #[tokio::test]
    async fn a_read_confirms_nothing_where_commits_wait_for_a_standby() {
        let primary = Primary::new(Duration::ZERO, Duration::ZERO);
        let asked = Instant::now();
        primary.answered(asked, Role::Alone);
        assert!(!primary.may_be_stale());
        assert_eq!(primary.known_current(asked, Role::Alone), Some(asked));
        let later = Instant::now();
        primary.answered(later, Role::Synchronous);
        assert!(primary.may_be_stale());
        assert!(primary.known_current(later, Role::Synchronous) < Some(later));
        assert_eq!(primary.known_current(later, Role::Standby), None);
        let primary = Primary::new(Duration::ZERO, Duration::from_hours(1));
        primary.answered(Instant::now(), Role::Standby);
        assert!(primary.may_be_stale(), "a standby is behind its primary whatever was confirmed");
    }
}
