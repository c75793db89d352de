//! Where the log ends: as it is while its lock is held, or as it will be once a batch is written.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use identity_domain::Event;
use sqlx::{Executor, PgConnection, Row};
use time::{Duration, OffsetDateTime};

use crate::error::BatchError;
use crate::log::Append;
use crate::recorded::Recorded;

/// The most organizations whose heads are kept from one batch to the next.
const REMEMBERED: usize = 20_000;

/// The head of the log and the heads of the organizations that a batch writes to.
#[derive(Debug)]
pub(crate) struct Head {
    position: i64,
    /// How often a read model was made anew.
    generation: i64,
    recorded_at: OffsetDateTime,
    /// What the database's clock said when it was read, and when that was.
    reading: OffsetDateTime,
    clock_read: Instant,
    /// What it says now.
    clock: OffsetDateTime,
    organizations: HashMap<String, i64>,
    touched: HashSet<String>,
}

impl Head {
    /// Begins a transaction and waits for the lock on the one row of `log_head`; whoever holds it is the only writer of
    /// the log.
    ///
    /// Both statements go to the server at once, which only unprepared ones can; their values come back as whole
    /// microseconds, since the text of a timestamp depends on settings.
    pub(crate) async fn lock(connection: &mut PgConnection) -> Result<Self, BatchError> {
        let head = connection
            .fetch_one(
                // The clock is read once the lock is held, so that whoever held it before us saw an earlier one.
                "begin;
             with head as materialized (select position, generation, recorded_at from log_head for update)
             select position,
                    generation,
                    (extract(epoch from nullif(recorded_at, '-infinity')) * 1000000)::bigint as recorded_at,
                    (extract(epoch from clock_timestamp()) * 1000000)::bigint as clock
             from head",
            )
            .await?;
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

    /// The same head by the clock of another.
    pub(crate) fn at(self, other: &Self) -> Self {
        Self { reading: other.reading, clock_read: other.clock_read, clock: other.clock, ..self }
    }

    /// The same head a while after it was read; to the microsecond, as Postgres keeps moments.
    pub(crate) fn by_now(self) -> Self {
        let passed = i64::try_from(self.clock_read.elapsed().as_micros()).map(Duration::microseconds);
        let clock = passed.ok().and_then(|passed| self.reading.checked_add(passed)).unwrap_or(self.clock);
        Self { clock, ..self }
    }

    /// Looks up where organizations are that a batch writes to. A statement of its own after the lock: one that was begun
    /// before it would see them as they were then. Those of the last batch stay known: it may not be committed yet.
    pub(crate) async fn load_organizations(
        &mut self,
        connection: &mut PgConnection,
        appends: &[&Append],
    ) -> Result<(), BatchError> {
        if self.organizations.len() >= REMEMBERED {
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

    /// The moment of the next command: the database's clock, and later than every moment given before, so that no
    /// two commands share one and history can be asked for any moment without doubt.
    pub(crate) fn next_moment(&self) -> Result<OffsetDateTime, BatchError> {
        let after_last = self.recorded_at.checked_add(Duration::MICROSECOND).ok_or(BatchError::Clock)?;
        Ok(self.clock.max(after_last))
    }

    /// Gives an event its place.
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

    /// The last position.
    pub(crate) const fn position(&self) -> i64 {
        self.position
    }

    /// Whether the log and its read models are as they were for another head.
    pub(crate) const fn is_where(&self, other: &Self) -> bool {
        self.position == other.position && self.generation == other.generation
    }

    /// How often a read model was made anew.
    pub(crate) const fn generation(&self) -> i64 {
        self.generation
    }

    /// What the database's clock says.
    pub(crate) const fn clock(&self) -> OffsetDateTime {
        self.clock
    }

    /// When it was read the last time.
    pub(crate) const fn clock_read(&self) -> Instant {
        self.clock_read
    }

    /// The last moment.
    pub(crate) const fn recorded_at(&self) -> OffsetDateTime {
        self.recorded_at
    }

    /// The organizations that this batch wrote to, and the last sequence of each.
    pub(crate) fn touched(&self) -> (Vec<String>, Vec<i64>) {
        let heads = self.organizations.iter().filter(|(id, _)| self.touched.contains(*id));
        heads.map(|(id, sequence)| (id.clone(), *sequence)).unzip()
    }
}

fn moment(microseconds: i64) -> Result<OffsetDateTime, BatchError> {
    let nanoseconds = i128::from(microseconds) * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).map_err(|_| BatchError::Clock)
}
