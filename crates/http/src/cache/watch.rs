//! The task that applies events of other processes to the cache. Each time it has looked at the log, the cache may be used
//! for one second more, if the log was read from the primary. It also tells [`Primary`] whether the database answered,
//! and whether it is the primary, and sees to it that this process becomes the [`Sole`] one, or ceases to be it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use identity_log::ReadError;
use identity_log::follow::Head;
use identity_log::primary::{Primary, Role};
use identity_log::read::{self, LogState};
use identity_log::session;
use identity_log::sole::{MAX_TRUST_TIME, Sole};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;
use uuid::Uuid;

use super::{Cache, Look};

/// The maximum number of events that are applied one by one. If there are more, the cache is emptied.
const MAX_APPLIED_EVENTS: i64 = 10_000;

/// How often the log is read without a notification.
const READ_INTERVAL: Duration = Duration::from_millis(250);

/// The minimum time between two readings of the log.
const MIN_READ_INTERVAL: Duration = Duration::from_millis(5);

/// How long reading the log may take. After that the cache is not trusted any more, but a database that answers late
/// does not count as silent.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// The task. Run it with [`Watch::run`].
#[derive(Debug)]
pub struct Watch {
    cache: Cache,
    primary: Primary,
    sole: Sole,
    head: watch::Receiver<Head>,
    options: PgConnectOptions,
    /// The connection, and the state that was read over it last.
    connected: Option<(PgConnection, Option<LogState>)>,
}

impl Watch {
    /// A watch over the `cache` of this `process`, which connects with these options. `head` is the last position of the
    /// log.
    pub fn new(
        cache: Cache,
        process: Uuid,
        primary: Primary,
        options: PgConnectOptions,
        head: watch::Receiver<Head>,
    ) -> Self {
        Self { cache, primary, sole: Sole::new(process), head, options, connected: None }
    }

    /// Runs until the sender of `head` is dropped.
    pub async fn run(mut self) {
        loop {
            let asked = Instant::now();
            let Head { following, recalls, .. } = *self.head.borrow_and_update();
            let current_as_of = self.look(asked).await.filter(|_| following);
            self.cache.trust(current_as_of.map(|moment| moment + MAX_TRUST_TIME));
            self.cache.0.looks.send_replace(Look { began: asked, succeeded: current_as_of.is_some() });
            self.claim_or_resign().await;
            if !following {
                self.forget_state();
            }
            if self.next(asked, recalls).await.is_err() {
                return self.end().await;
            }
        }
    }

    /// Waits until it is time for another look: after events that were not applied, a recall, a question, or 250 ms. Fails
    /// if the sender of `head` is dropped.
    async fn next(&mut self, last: Instant, recalls: u64) -> Result<(), watch::error::RecvError> {
        // After a restore the last position is ahead of the log: the wait below would return at once each time, and never fail.
        self.head.has_changed()?;
        // Without a connection a database that refuses connections would be flooded with attempts.
        if self.connected.is_none() {
            tokio::time::sleep(READ_INTERVAL).await;
            return self.head.has_changed().map(drop);
        }
        let Self { cache, head, .. } = self;
        let is_news = |head: &Head| {
            let is_new = head.position > cache.0.seen.load(Ordering::Acquire) || head.recalls != recalls;
            head.following && is_new
        };
        let news = async {
            tokio::time::sleep(MIN_READ_INTERVAL).await;
            head.wait_for(is_news).await.map(drop)
        };
        tokio::select! {
            () = cache.0.questions.notified() => Ok(()),
            () = tokio::time::sleep_until((last + READ_INTERVAL).into()) => Ok(()),
            news = news => news,
        }
    }

    /// Becomes the sole process, or ceases to be it, as the last look says. The log is not read while this runs. So it has a time
    /// limit, after which the connection is dropped.
    async fn claim_or_resign(&mut self) {
        let Some((connection, Some(state))) = &mut self.connected else { return };
        if state.role == Role::Standby {
            return;
        }
        let is_outcome_unknown = self.cache.invalidations().is_outcome_unknown;
        let work = async {
            if is_outcome_unknown {
                self.sole.step_down(connection).await?;
                self.cache.invalidations().is_outcome_unknown = false;
                return Ok(());
            }
            self.sole.claim_or_resign(connection, state.sole).await
        };
        match tokio::time::timeout(LOOK_TIMEOUT, work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot claim or give up the place of the sole process"
            ),
            Err(_elapsed) => self.connected = None,
        }
    }

    /// Leaves the place of the sole process free. If that fails, others wait for 1.2 s before they commit.
    async fn end(&mut self) {
        self.cache.trust(None);
        let Some((connection, _)) = &mut self.connected else { return };
        let resigned = tokio::time::timeout(LOOK_TIMEOUT, self.sole.resign(connection)).await;
        let late = |_elapsed| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
        if let Err(error) = resigned.unwrap_or_else(late) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot give up the place of the sole process: other processes wait 1.2 s before their next commit"
            );
        }
    }

    /// Reads the log. Returns as of when the cache is known to be current; `None` if that is not known.
    async fn look(&mut self, asked: Instant) -> Option<Instant> {
        match tokio::time::timeout(LOOK_TIMEOUT, self.catch_up()).await {
            Ok(Ok((connection, state))) => {
                let role = state.role;
                // Before the cache is trusted for longer: the sole process may have been recalled.
                self.cache.set_sole(self.sole.may_answer_alone(state.sole));
                self.connected = Some((connection, Some(state)));
                self.primary.answered(asked, role);
                return self.primary.known_current(asked, role);
            }
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "answering without the cache");
                // An error from Postgres is an answer, too: it may only have no room for another connection.
                if matches!(error, ReadError::Database(sqlx::Error::Database(_))) {
                    self.primary.responded(asked);
                } else {
                    self.primary.not_answered(asked);
                }
            }
            Err(_elapsed) => self.primary.not_answered(asked),
        }
        None
    }

    /// Applies the events since the last reading. Empties the cache instead, after noting the position of the log, if this
    /// is the first reading over this connection, if the state is not one that follows on the last, or if there are more than
    /// 10,000 events.
    ///
    /// The connection is lost with the future: one that did not answer in time is not used again.
    async fn catch_up(&mut self) -> Result<(PgConnection, LogState), ReadError> {
        let (mut connection, last) = match self.connected.take() {
            Some(connected) => connected,
            None => (self.connect().await?, None),
        };
        let seen = &self.cache.0.seen;
        let seen_before = seen.load(Ordering::Acquire);
        let state = read::state(&mut connection, last.as_ref()).await?;
        // Commits of this process may have been applied while the log was read. Those applied before it are in the
        // state that was read.
        let continues = state.position >= seen_before && last.is_some_and(|last| state.continues(&last));
        let seen_by_now = seen.load(Ordering::Acquire);
        if !continues || state.position - seen_by_now > MAX_APPLIED_EVENTS {
            seen.store(state.position, Ordering::Release);
            self.cache.forget_all();
        } else if state.position > seen_by_now {
            // Events of this process do not count here. It can read them before it knows that it has committed them.
            if state.position > self.cache.0.sent.load(Ordering::Acquire) {
                self.sole.saw_events_of_others();
            }
            let changes = read::changes(&mut connection, seen_by_now, state.position).await?;
            self.cache.learn(seen_by_now, state.position, changes.into_iter());
        }
        Ok((connection, state))
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        session::set(&mut connection, &session::READER_SETTINGS).await?;
        Ok(connection)
    }

    /// Makes the next reading empty the cache.
    fn forget_state(&mut self) {
        if let Some((_, state)) = &mut self.connected {
            *state = None;
        }
    }
}
