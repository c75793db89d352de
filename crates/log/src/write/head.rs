//! The end of the log: as it is while `log_head` is locked, or as it will be once a batch is written.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use identity_domain::Event;
use identity_proof::SealKey;
use sqlx::postgres::PgRow;
use sqlx::{Executor, PgConnection, Row};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::append::Append;
use crate::error::BatchError;
use crate::event::recorded::Recorded;
use crate::sole;

/// How many heads of organizations are kept from one batch to the next at most.
const MAX_CACHED_ORGANIZATIONS: usize = 20_000;

/// How old the moment of a draft may be when the draft is written. A reader that asks about a moment less than 50 ms ago
/// waits until the moment is older than this (`read::past::is_settled`). After that no new event can have that moment.
pub(crate) const MAX_DRAFT_AGE: std::time::Duration = std::time::Duration::from_millis(50);

/// The state of the log that a draft presumes. [`statement`](super::statement) checks it when the draft is written.
pub(super) struct DraftedOn {
    /// The last position of the log.
    pub(super) position: i64,
    /// How often a read model was rebuilt or rolled back.
    pub(super) generation: i64,
    /// The deadline of the draft, by the clock of the database: the moment of its events plus 50 ms.
    pub(super) latest: OffsetDateTime,
}

impl DraftedOn {
    pub(super) fn of(head: &LogHead) -> Self {
        let latest = head.clock() + MAX_DRAFT_AGE;
        Self { position: head.position(), generation: head.generation(), latest }
    }

    /// Whether the log and its read models are still as the draft presumes.
    pub(super) fn is_unchanged_at(&self, head: &LogHead) -> bool {
        self.position == head.position() && self.generation == head.generation()
    }

    /// Whether a draft on this may be written while `head` is locked.
    pub(super) fn is_valid_at(&self, head: &LogHead) -> bool {
        self.is_unchanged_at(head) && head.clock() < self.latest
    }
}

/// Locks the one row of `log_head`, in a transaction. The clock is read while the lock is held, so the previous holder of the lock
/// read an earlier time.
const LOCK: &str = "
    with head as materialized (select * from log_head for update)
    select position, generation, sealing_key, sole_process, sole_term, sole_recalled,
           (extract(epoch from nullif(recorded_at, '-infinity')) * 1000000)::bigint as recorded_at,
           (extract(epoch from clock_timestamp()) * 1000000)::bigint as clock
    from head";

/// Whether the row in `organization_heads` is missing or behind for one of the last 100 events. One statement, so all is of one
/// moment.
const HEADS_ARE_BEHIND: &str = "
    select exists (
        select from (select organization_id, organization_sequence from events order by position desc limit 100) as last
        left join organization_heads as head using (organization_id)
        where head.sequence is null or head.sequence < organization_sequence
    )";

/// Fails if `organization_heads` is behind the last events. Every write of such an organization would fail.
pub(super) async fn check_organizations(connection: &mut PgConnection) -> Result<(), BatchError> {
    let are_behind: bool = sqlx::query_scalar(HEADS_ARE_BEHIND).fetch_one(connection).await?;
    if are_behind { Err(BatchError::HeadsBehind) } else { Ok(()) }
}

/// The head of the log and the heads of the organizations that a batch writes to.
#[derive(Debug)]
pub(crate) struct LogHead {
    position: i64,
    generation: i64,
    recorded_at: OffsetDateTime,
    /// The last reading of the database's clock, and when it was taken.
    reading: OffsetDateTime,
    clock_read: Instant,
    /// The time of the database: the reading, or the reading advanced by the time that passed.
    clock: OffsetDateTime,
    organizations: HashMap<String, i64>,
    /// The organizations that the present batch writes to.
    touched: HashSet<String>,
}

impl LogHead {
    /// Begins a transaction and waits for the lock on the one row of `log_head`. The holder of this lock is the only
    /// writer of the log.
    ///
    /// Both statements go to the server in one message, so they cannot be prepared statements and their values come
    /// back as text. Times come back as whole microseconds, because the text form of a timestamp depends on settings.
    ///
    /// Fails if the log goes on with another signing key. A replacement of the key changes the generation, so every draft of
    /// before is made again, and comes here.
    ///
    /// If another process is the sole one, it is recalled first.
    pub(crate) async fn lock(
        connection: &mut PgConnection,
        seal_key: &SealKey,
        process: Uuid,
    ) -> Result<Self, BatchError> {
        let begin_and_lock = format!("begin; {LOCK}");
        let head = loop {
            let head = connection.fetch_optional(begin_and_lock.as_str()).await?.ok_or(BatchError::NoHead)?;
            match sole::holder(&head)?.filter(|holder| holder.process != process) {
                Some(other) => {
                    connection.execute("rollback").await?;
                    sole::take_place(connection, other).await?;
                }
                None => break head,
            }
        };
        Self::of_row(&head, seal_key)
    }

    /// Locks the row in a transaction that has begun and will be rolled back. The sole process keeps its place, since nobody will
    /// see what is written.
    pub(super) async fn lock_for_trial(
        connection: &mut PgConnection,
        seal_key: &SealKey,
    ) -> Result<Self, BatchError> {
        Self::of_row(&connection.fetch_optional(LOCK).await?.ok_or(BatchError::NoHead)?, seal_key)
    }

    fn of_row(head: &PgRow, seal_key: &SealKey) -> Result<Self, BatchError> {
        let present: Option<String> = head.try_get("sealing_key")?;
        if present.is_some_and(|present| present != seal_key.name()) {
            return Err(BatchError::KeyReplaced);
        }
        let recorded_at: Option<i64> = head.try_get("recorded_at")?;
        let reading = moment(head.try_get("clock")?)?;
        Ok(Self {
            position: head.try_get("position")?,
            generation: head.try_get("generation")?,
            recorded_at: moment(recorded_at.unwrap_or(0))?,
            reading,
            clock_read: Instant::now(),
            clock: reading,
            organizations: HashMap::new(),
            touched: HashSet::new(),
        })
    }

    /// This head with the clock reading of `other`.
    pub(crate) fn with_clock_of(self, other: &Self) -> Self {
        Self { reading: other.reading, clock_read: other.clock_read, clock: other.clock, ..self }
    }

    /// This head with its clock advanced by the time that passed since the reading, in whole microseconds as in Postgres.
    pub(crate) fn advanced_to_now(self) -> Self {
        let passed = i64::try_from(self.clock_read.elapsed().as_micros()).map(Duration::microseconds);
        let clock = passed.ok().and_then(|passed| self.reading.checked_add(passed)).unwrap_or(self.clock);
        Self { clock, ..self }
    }

    /// Loads the heads of the organizations that a batch writes to.
    ///
    /// This is a statement of its own after the lock is taken: a statement that began before would have an older
    /// snapshot. The heads of the last batch stay cached, because that batch may not be committed yet.
    pub(crate) async fn load_organizations(
        &mut self,
        connection: &mut PgConnection,
        appends: &[&Append],
    ) -> Result<(), BatchError> {
        if self.organizations.len() >= MAX_CACHED_ORGANIZATIONS {
            self.organizations.retain(|id, _| self.touched.contains(id));
        }
        self.touched.clear();
        let wanted: HashSet<&str> = appends.iter().map(|append| append.organization_id.as_str()).collect();
        let unknown: Vec<&str> =
            wanted.into_iter().filter(|id| !self.organizations.contains_key(*id)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let sequences: Vec<(String, i64)> = sqlx::query_as(
            "select organization_id, sequence from organization_heads where organization_id = any($1)",
        )
        .bind(unknown)
        .fetch_all(connection)
        .await?;
        self.organizations.extend(sequences);
        Ok(())
    }

    /// The moment of the next command: the time of the database, but at least 1 µs after the last event. No two commands
    /// share a moment, so every moment has exactly one state of the history.
    pub(crate) fn next_moment(&self) -> Result<OffsetDateTime, BatchError> {
        let after_last = self.recorded_at.checked_add(Duration::MICROSECOND).ok_or(BatchError::Clock)?;
        Ok(self.clock.max(after_last))
    }

    /// Gives an event the next position and sequences.
    pub(crate) fn record(
        &mut self,
        append: &Append,
        event: Event,
        sequence: i64,
        now: OffsetDateTime,
    ) -> Recorded {
        self.position += 1;
        self.recorded_at = now;
        let organization_sequence = self.organizations.entry(append.organization_id.clone()).or_insert(0);
        *organization_sequence += 1;
        self.touched.insert(append.organization_id.clone());
        Recorded {
            position: self.position,
            organization_id: append.organization_id.clone(),
            organization_sequence: *organization_sequence,
            aggregate_id: append.aggregate_id.clone(),
            sequence,
            event,
            metadata: append.metadata.clone(),
            recorded_at: now,
        }
    }

    /// The position of the last event.
    pub(crate) const fn position(&self) -> i64 {
        self.position
    }

    /// Whether neither the log nor the set of live read models changed between the two heads.
    pub(crate) const fn is_same_state_as(&self, other: &Self) -> bool {
        self.position == other.position && self.generation == other.generation
    }

    /// How often a read model was rebuilt or rolled back.
    pub(crate) const fn generation(&self) -> i64 {
        self.generation
    }

    /// The time of the database.
    pub(crate) const fn clock(&self) -> OffsetDateTime {
        self.clock
    }

    /// When the clock of the database was read last.
    pub(crate) const fn clock_read(&self) -> Instant {
        self.clock_read
    }

    /// The moment of the last event.
    pub(crate) const fn recorded_at(&self) -> OffsetDateTime {
        self.recorded_at
    }

    /// The organizations that the batch writes to, and the last sequence of each.
    pub(crate) fn touched(&self) -> (Vec<String>, Vec<i64>) {
        let heads = self.organizations.iter().filter(|(id, _)| self.touched.contains(*id));
        heads.map(|(id, sequence)| (id.clone(), *sequence)).unzip()
    }
}

fn moment(microseconds: i64) -> Result<OffsetDateTime, BatchError> {
    let nanoseconds = i128::from(microseconds) * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).map_err(|_| BatchError::Clock)
}
