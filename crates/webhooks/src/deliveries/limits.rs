//! How much of the log of deliveries is kept for one organization. Beyond that, its oldest deliveries are deleted.
//!
//! Every process notes what it records. It counts all deliveries of an organization when it has recorded the first one since its
//! start, and each time that it has recorded a tenth of a limit. So a limit can be passed by a tenth for each process.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{FromRow, PgPool};
use time::OffsetDateTime;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::amount::Amount;
use crate::attempt::Attempt;

/// How many deliveries are counted, and deleted, in one transaction.
const COUNTED_AT_A_TIME: i64 = 10_000;
const DELETED_AT_A_TIME: i64 = 1_000;

/// How much is kept for an organization. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Deliveries.
    pub deliveries: u64,
    /// Bytes of what was sent and answered.
    pub bytes: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { deliveries: 1_000_000, bytes: 2 << 30 }
    }
}

impl LogLimits {
    /// The most that is kept, if anything is limited.
    fn most(self) -> Option<Amount> {
        let most = |limit| i64::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(i64::MAX);
        let is_limited = self.deliveries > 0 || self.bytes > 0;
        is_limited.then(|| Amount { deliveries: most(self.deliveries), bytes: most(self.bytes) })
    }
}

/// What this process has recorded. Clones share it.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// `None` if nothing is limited.
    most: Option<Amount>,
    noted: Arc<Mutex<Noted>>,
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Noted {
    /// What was recorded for each organization since its deliveries were last counted.
    organizations: HashMap<String, Amount>,
    /// The organizations whose deliveries are to be counted.
    due: HashSet<String>,
}

impl Recorded {
    pub(crate) fn new(limits: LogLimits) -> Self {
        Self { most: limits.most(), noted: Arc::default(), wake: Arc::default() }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a delivery of an organization.
    pub(crate) fn note(&self, organization: &str, payload: &str, attempt: &Attempt) {
        let Some(most) = self.most else { return };
        let length = |text: Option<&String>| text.map_or(0, String::len);
        let bytes = payload.len() + length(attempt.body.as_ref()) + length(attempt.error.as_ref());
        let mut noted = self.noted();
        if let Some(since) = noted.organizations.get_mut(organization) {
            since.add(bytes);
            if !since.has_a_tenth_of(most) {
                return;
            }
        }
        noted.organizations.insert(organization.to_owned(), Amount::default());
        noted.due.insert(organization.to_owned());
        drop(noted);
        self.wake.notify_one();
    }

    /// Waits until there are organizations whose deliveries are to be counted.
    pub async fn due(&self) -> HashSet<String> {
        loop {
            let due = mem::take(&mut self.noted().due);
            if !due.is_empty() {
                return due;
            }
            self.wake.notified().await;
        }
    }

    /// Deletes the oldest deliveries of an organization that has too many. Returns how many.
    pub async fn prune(&self, pool: &PgPool, organization: &str) -> Result<u64, sqlx::Error> {
        let Some(most) = self.most else { return Ok(0) };
        prune(pool, organization, most).await
    }

    /// The deliveries of an organization could not be deleted. They are counted again when the next one is recorded.
    pub fn not_pruned(&self, organization: &str) {
        self.noted().organizations.remove(organization);
    }
}

/// The place of a delivery, and what there is of newer ones together with it.
#[derive(Debug, FromRow)]
struct Place {
    created_at: OffsetDateTime,
    id: Uuid,
    deliveries: i64,
    bytes: i64,
}

async fn prune(pool: &PgPool, organization: &str, most: Amount) -> Result<u64, sqlx::Error> {
    let Some(place) = first_beyond(pool, organization, most).await? else { return Ok(0) };
    let mut pruned = 0;
    loop {
        let done = sqlx::query(
            "delete from webhook_deliveries
             where id in (select id from webhook_deliveries
                          where organization_id = $1 and (created_at, id) <= ($2, $3)
                          order by created_at, id
                          limit $4
                          for update skip locked)",
        )
        .bind(organization)
        .bind(place.created_at)
        .bind(place.id)
        .bind(DELETED_AT_A_TIME)
        .execute(pool)
        .await?;
        pruned += done.rows_affected();
        if i64::try_from(done.rows_affected()).unwrap_or(i64::MAX) < DELETED_AT_A_TIME {
            return Ok(pruned);
        }
    }
}

/// The newest delivery that is not kept, if there is one. They are counted from the newest on, some at a time.
async fn first_beyond(pool: &PgPool, organization: &str, most: Amount) -> Result<Option<Place>, sqlx::Error> {
    let (mut counted, mut after): (Amount, Option<Place>) = Default::default();
    loop {
        let found: Option<Place> = sqlx::query_as(
            "with step as (
                 select created_at, id,
                        octet_length(payload) + coalesce(octet_length(response_body), 0)
                        + coalesce(octet_length(error_detail), 0) as bytes
                 from webhook_deliveries
                 where organization_id = $1 and (created_at, id) < (coalesce($2, 'infinity'::timestamptz),
                                                            coalesce($3, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
                 order by created_at desc, id desc
                 limit $4
             ), counted as (
                 select created_at, id, row_number() over newest as deliveries, sum(bytes) over newest as bytes
                 from step
                 window newest as (order by created_at desc, id desc rows unbounded preceding)
             )
             select created_at, id, deliveries, bytes
             from counted
             where deliveries > $5 or bytes > $6 or deliveries = $4
             order by created_at desc, id desc
             limit 1",
        )
        .bind(organization)
        .bind(after.as_ref().map(|place| place.created_at))
        .bind(after.as_ref().map(|place| place.id))
        .bind(COUNTED_AT_A_TIME)
        .bind(most.deliveries - counted.deliveries)
        .bind(most.bytes - counted.bytes)
        .fetch_optional(pool)
        .await?;
        let Some(place) = found else { return Ok(None) };
        counted.deliveries += place.deliveries;
        counted.bytes += place.bytes;
        if !counted.is_within(most) {
            return Ok(Some(place));
        }
        after = Some(place);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::{LogLimits, Recorded};
    use crate::attempt::Attempt;

    /// How often the deliveries of an organization are counted while so many are recorded.
    fn counted(limits: LogLimits, recorded: usize) -> usize {
        let log = Recorded::new(limits);
        let note = |_: &usize| {
            log.note("acme", "0123456789", &Attempt::default());
            log.due().now_or_never().is_some()
        };
        (0..recorded).filter(note).count()
    }

    #[test]
    fn deliveries_are_counted_at_first_and_each_time_that_a_tenth_of_a_limit_was_recorded() {
        assert_eq!(counted(LogLimits { deliveries: 100, bytes: 0 }, 101), 1 + 10);
        assert_eq!(counted(LogLimits { deliveries: 0, bytes: 2_000 }, 101), 1 + 5);
        assert_eq!(counted(LogLimits { deliveries: 0, bytes: 0 }, 101), 0);
        assert_eq!(counted(LogLimits { deliveries: 1, bytes: 0 }, 101), 101);
        assert_eq!(counted(LogLimits::default(), 101), 1);
    }
}
