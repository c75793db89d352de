//! The limits on what one key, one organization or one address may use, so that enough is left for the others.
//!
//! - `buckets`: requests a minute. Off unless it is set.
//! - `refused_keys`: requests with invalid keys, by address.
//! - `shares`: requests, streams and bodies at the same time. A request takes its share of requests only when its body has
//!   arrived. Until then it has a share of bodies, so a client that sends headers without bodies takes nothing from the
//!   requests that are answered.
//! - `turns`: connections to the database at the same time. What exceeds them waits.
//! - `in_memory`: bytes of large answers that wait for their clients to read them.
//! - `bulk`: bytes of large writes. What exceeds them waits.
//! - `daily`: what is used up in a day. The limits of single identities are checked with the command, in the log.
//!
//! If requests a minute are limited, answers have the fields `RateLimit-Policy` and `RateLimit` of
//! draft-ietf-httpapi-ratelimit-headers: the quota and its window, what remains of it, and in how many seconds it is full
//! again.

pub(crate) mod buckets;
mod bulk;
mod daily;
mod in_memory;
mod queues;
mod refused_keys;
mod shares;
mod turns;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use identity_domain::Command;
use identity_projections::api_keys::Row as KeyRow;
use uuid::Uuid;

use self::buckets::Limit;
use self::bulk::BulkBudgets;
use self::daily::{Daily, UsedUp};
use self::in_memory::InMemory;
use self::refused_keys::RefusedKeys;
use crate::client::network;
use crate::error::ApiError;

pub(crate) use self::buckets::Standing;
pub(crate) use self::bulk::{Size, Taken};
pub use self::daily::DailySettings;
pub(crate) use self::in_memory::Held;
pub use self::shares::{OfHolders, Share, Shares};
pub(crate) use self::turns::{Turn, Turns};

/// An answer that is in memory as a whole is large if it has more bytes. The server takes no more than this of a body before its
/// client reads it.
const LARGE_ANSWER: usize = 256 * 1024;

/// The bytes of an answer that is in memory as a whole are counted if it has more. Of smaller ones, 128 on one connection have 512 KiB.
const SMALL_ANSWER: usize = 4 * 1024;

/// A piece of an answer is large if it has more bytes. Only a single row or a single event is so large.
const LARGE_PIECE: usize = 1024 * 1024;

/// How many large answers are being sent at the same time. `in_memory` limits their bytes.
const LARGE_ANSWERS: OfHolders = OfHolders { key: 16, organization: 32 };

/// How many bodies each key may await whatever others at its address do: clients behind one proxy or NAT have the same address.
const FIRST_BODIES: usize = 4;

/// How many replays of deliveries to one webhook subscription are on their way at the same time.
const MAX_REPLAYS: usize = 8;

/// How many replays of deliveries to all subscriptions of one organization are on their way at the same time.
const MAX_REPLAYS_OF_ORGANIZATION: usize = 64;

/// The limits of a process, as they are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Requests a minute of one key. All of them may come at once.
    pub key: Option<NonZeroU32>,
    /// Requests a minute of all keys of an organization together.
    pub organization: Option<NonZeroU32>,
    /// Requests a minute with invalid keys, from one address. Also how often a minute an API key may try to open the vault.
    pub refused_keys: Option<NonZeroU32>,
    /// Requests that are answered at the same time.
    pub requests: usize,
    /// Requests at the same time of a key, and of an organization.
    pub requests_of: OfHolders,
    /// Streams at the same time of a key, and of an organization.
    pub streams_of: OfHolders,
    /// Connections to the database at the same time of a key, and of an organization.
    pub connections_of: OfHolders,
    /// Bodies that are awaited at the same time from one address.
    pub bodies_of_address: usize,
    /// Quotas of a day.
    pub daily: DailySettings,
    /// Bytes that large writes of an organization may add in a second. 0 is no limit.
    pub bulk_bytes_per_second: u32,
}

/// The limits of a process, and what is used of them.
pub(crate) struct Limits {
    keys: Option<Limit<Uuid>>,
    organizations: Option<Limit<String>>,
    refused_keys: Option<RefusedKeys>,
    requests: Shares<()>,
    requests_of: HolderShares,
    streams_of: HolderShares,
    turns: Arc<Turns>,
    large_answers_of: HolderShares,
    /// Answers and pieces that are being sent.
    unsent: Arc<InMemory>,
    /// The bytes of other answers, if they are not small.
    unread: InMemory,
    /// What answers that are written piece by piece have in memory until their end.
    kept: Arc<InMemory>,
    bodies: Shares<IpAddr>,
    /// The first bodies of each key, which do not count against its address.
    first_bodies: Shares<Uuid>,
    bodies_of: HolderShares,
    replays: Shares<Uuid>,
    replays_of: Shares<String>,
    daily: Daily,
    /// Budgets of bytes for large writes.
    pub(crate) bulk: BulkBudgets,
    /// Attempts to open a vault, by API key.
    vault_attempts: Option<Limit<Uuid>>,
}

/// Shares of keys and of organizations.
struct HolderShares {
    keys: Shares<Uuid>,
    organizations: Shares<String>,
}

/// The share of a key and of its organization.
#[derive(Debug)]
pub(crate) struct HolderShare {
    _key: Share<Uuid>,
    _organization: Share<String>,
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct RequestShare {
    _all: Share<()>,
    _of: HolderShare,
}

/// An answer that is in memory as a whole, and not small.
#[derive(Debug)]
pub(crate) struct AnswerShare {
    /// If it is large.
    _of: Option<HolderShare>,
    _held: Held,
}

/// An answer that is written piece by piece. Each piece waits for its turn among the large reads of its key and organization.
#[derive(Debug)]
pub(crate) struct StreamShare {
    turns: Arc<Turns>,
    unsent: Arc<InMemory>,
    key: Arc<KeyRow>,
    _of: HolderShare,
    _kept: Option<Held>,
}

impl StreamShare {
    /// Waits for the turn of the next piece.
    pub(crate) async fn turn(&self) -> Turn {
        self.turns.take_large(&self.key).await
    }

    /// Waits for room for a piece, if it is large. The caller keeps its turn meanwhile, so that it is the only one that waits with a
    /// piece, and keeps the result until the piece is sent.
    pub(crate) async fn hold(&self, bytes: usize) -> Option<Held> {
        if bytes > LARGE_PIECE { Some(self.unsent.take(&self.key, bytes).await) } else { None }
    }
}

/// A delivery of a webhook that is sent again.
#[derive(Debug)]
pub(crate) struct ReplayShare {
    _subscription: Share<Uuid>,
    _organization: Share<String>,
}

/// A body that is awaited.
#[derive(Debug)]
pub(crate) struct BodyShare {
    _first: Option<Share<Uuid>>,
    _address: Option<Share<IpAddr>>,
    _of: HolderShare,
}

impl HolderShares {
    fn new(most: OfHolders) -> Self {
        Self { keys: Shares::new(most.key), organizations: Shares::new(most.organization) }
    }

    fn take(&self, key: &KeyRow) -> Result<HolderShare, ApiError> {
        let taken = self.keys.take(&key.id).zip(self.organizations.take(&key.organization_id));
        let (of_key, of_organization) = taken.ok_or_else(ApiError::share_used_up)?;
        Ok(HolderShare { _key: of_key, _organization: of_organization })
    }
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Limits").finish_non_exhaustive()
    }
}

impl Limits {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            keys: settings.key.and_then(|quota| Limit::new("key", quota)),
            organizations: settings.organization.and_then(|quota| Limit::new("organization", quota)),
            refused_keys: settings.refused_keys.and_then(RefusedKeys::new),
            requests: Shares::new(settings.requests),
            requests_of: HolderShares::new(settings.requests_of),
            streams_of: HolderShares::new(settings.streams_of),
            turns: Arc::new(Turns::new(settings.connections_of)),
            large_answers_of: HolderShares::new(LARGE_ANSWERS),
            unsent: Arc::new(InMemory::of_large()),
            unread: InMemory::of_others(),
            kept: Arc::new(InMemory::of_large()),
            bodies: Shares::new(settings.bodies_of_address),
            first_bodies: Shares::new(FIRST_BODIES),
            bodies_of: HolderShares::new(settings.requests_of),
            replays: Shares::new(MAX_REPLAYS),
            replays_of: Shares::new(MAX_REPLAYS_OF_ORGANIZATION),
            daily: Daily::new(settings.daily),
            bulk: BulkBudgets::new(settings.bulk_bytes_per_second),
            vault_attempts: settings.refused_keys.and_then(|quota| Limit::new("vault", quota)),
        }
    }

    /// Takes a token from the bucket of the key and from that of its organization. Returns what remains, and the seconds
    /// to wait if one of them was empty. `None` if no limit is set.
    pub(crate) fn take(&self, key: &KeyRow) -> Option<(Standing, Option<u32>)> {
        if self.keys.is_none() && self.organizations.is_none() {
            return None;
        }
        let mut standing = Standing::default();
        let mut wait = None;
        if let Some(keys) = &self.keys {
            wait = keys.take(&key.id, &mut standing);
        }
        // A request that the limit of the key refuses does not count against the organization.
        if let (Some(organizations), None) = (&self.organizations, wait) {
            wait = organizations.take(&key.organization_id, &mut standing);
        }
        Some((standing, wait))
    }

    /// Counts a request with an invalid key against its address, and returns the error to answer it with.
    pub(crate) fn refused(&self, address: Option<IpAddr>) -> ApiError {
        match (&self.refused_keys, address) {
            (Some(refused), Some(address)) => refused
                .count(address)
                .map_or_else(ApiError::too_many_refused_keys, |()| ApiError::unauthorized()),
            _ => ApiError::unauthorized(),
        }
    }

    /// Takes the share of a request whose body has arrived.
    pub(crate) fn request(&self, key: &KeyRow) -> Result<RequestShare, ApiError> {
        let of = self.requests_of.take(key)?;
        let all = self.requests.take(&()).ok_or_else(ApiError::overloaded)?;
        Ok(RequestShare { _all: all, _of: of })
    }

    /// Counts an attempt to open the vault with this API key, whether or not it succeeds.
    pub(crate) fn take_vault_attempt(&self, key: Uuid) -> Result<(), ApiError> {
        let limit = self.vault_attempts.as_ref();
        let wait = limit.and_then(|limit| limit.take(&key, &mut Standing::default()));
        wait.map_or(Ok(()), |seconds| Err(ApiError::too_many_vault_attempts(seconds)))
    }

    /// Takes the share of a body that has not arrived yet.
    pub(crate) fn body(&self, key: &KeyRow, address: Option<IpAddr>) -> Result<BodyShare, ApiError> {
        let of = self.bodies_of.take(key)?;
        if let Some(first) = self.first_bodies.take(&key.id) {
            return Ok(BodyShare { _first: Some(first), _address: None, _of: of });
        }
        let address = address.map(|address| self.bodies.take(&network(address)));
        let address = address.map(|share| share.ok_or_else(ApiError::share_used_up)).transpose()?;
        Ok(BodyShare { _first: None, _address: address, _of: of })
    }

    /// Takes the share of a delivery to a webhook subscription that is sent again.
    pub(crate) fn replay(&self, key: &KeyRow, subscription: Uuid) -> Result<ReplayShare, ApiError> {
        let taken = self.replays.take(&subscription).zip(self.replays_of.take(&key.organization_id));
        let (of_subscription, of_organization) = taken.ok_or_else(ApiError::too_many_replays)?;
        Ok(ReplayShare { _subscription: of_subscription, _organization: of_organization })
    }

    /// Takes the share of an answer that is written piece by piece. It has so many bytes in memory until its end. If they are many,
    /// this waits for room for them.
    pub(crate) async fn stream(&self, key: &Arc<KeyRow>, bytes: usize) -> Result<StreamShare, ApiError> {
        let of = self.streams_of.take(key)?;
        let kept = if bytes > LARGE_PIECE { Some(self.kept.take(key, bytes).await) } else { None };
        let (turns, unsent) = (Arc::clone(&self.turns), Arc::clone(&self.unsent));
        Ok(StreamShare { turns, unsent, key: Arc::clone(key), _of: of, _kept: kept })
    }

    /// The turns on the database.
    pub(crate) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    /// Takes the share of an answer that is in memory as a whole and has so many bytes. The share ends when the answer is sent. A
    /// small answer needs none.
    pub(crate) fn answer(&self, key: &KeyRow, bytes: usize) -> Result<Option<AnswerShare>, ApiError> {
        if bytes <= SMALL_ANSWER {
            return Ok(None);
        }
        let (of, counted) = if bytes > LARGE_ANSWER {
            (Some(self.large_answers_of.take(key)?), &*self.unsent)
        } else {
            (None, &self.unread)
        };
        let held = counted.try_take(key, bytes).ok_or_else(ApiError::share_used_up)?;
        Ok(Some(AnswerShare { _of: of, _held: held }))
    }

    /// Counts a write with an `Idempotency-Key` that asks for no command.
    pub(crate) fn repeatable(&self, key: &KeyRow) -> Result<(), ApiError> {
        allowed(self.daily.take_repeatable(key))
    }

    /// Counts a change that asks for no command.
    pub(crate) fn change(&self, key: &KeyRow) -> Result<(), ApiError> {
        allowed(self.daily.take_change(key))
    }

    /// Counts a command against the quotas of a day.
    pub(crate) fn daily(&self, key: &KeyRow, command: &Command, is_repeatable: bool) -> Result<(), ApiError> {
        allowed(self.daily.take(key, command, is_repeatable))
    }
}

fn allowed(taken: Result<(), UsedUp>) -> Result<(), ApiError> {
    taken.map_err(|UsedUp { of_what, seconds }| ApiError::quota_used_up(of_what, seconds))
}

#[cfg(test)]
mod tests;
