//! The limits on what one key, one organization or one address may use, so that enough is left for the others.
//!
//! - `buckets`: requests a minute. Off unless it is set.
//! - `refused_keys`: requests with invalid keys, by address.
//! - `shares`: requests, streams and bodies at the same time. A request takes its share of requests only when its body has
//!   arrived. Until then it has a share of bodies, so a client that sends headers without bodies takes nothing from the
//!   requests that are answered.
//! - `turns`: a key reads one piece of its streams at a time.
//! - `daily`: what is used up in a day. The limits of single identities are checked with the command, in the log.
//!
//! If requests a minute are limited, answers have the fields `RateLimit-Policy` and `RateLimit` of
//! draft-ietf-httpapi-ratelimit-headers: the quota and its window, what remains of it, and in how many seconds it is full
//! again.

pub(crate) mod buckets;
mod daily;
mod refused_keys;
mod shares;
mod turns;

use std::net::IpAddr;
use std::num::NonZeroU32;

use identity_domain::Command;
use identity_projections::api_keys::Row as KeyRow;
use uuid::Uuid;

use self::buckets::Limit;
use self::daily::{Daily, UsedUp};
use self::refused_keys::RefusedKeys;
use self::turns::{Turns, TurnsOfKey};
use crate::client::network;
use crate::error::ApiError;

pub(crate) use self::buckets::Standing;
pub use self::daily::DailySettings;
pub use self::shares::{Share, Shares};

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
    /// Bodies that are awaited at the same time from one address.
    pub bodies_of_address: usize,
    /// Quotas of a day.
    pub daily: DailySettings,
}

/// How many requests or streams a key, and all keys of an organization together, have at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OfHolders {
    /// A key.
    pub key: usize,
    /// An organization.
    pub organization: usize,
}

/// The limits of a process, and what is used of them.
pub(crate) struct Limits {
    keys: Option<Limit<Uuid>>,
    organizations: Option<Limit<String>>,
    refused_keys: Option<RefusedKeys>,
    requests: Shares<()>,
    requests_of: HolderShares,
    streams_of: HolderShares,
    turns: Turns,
    bodies: Shares<IpAddr>,
    bodies_of: HolderShares,
    daily: Daily,
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

/// An answer that is written piece by piece. Each piece waits for its turn among the pieces of the same key.
#[derive(Debug)]
pub(crate) struct StreamShare {
    pub(crate) turns: TurnsOfKey,
    _of: HolderShare,
}

/// A body that is awaited.
#[derive(Debug)]
pub(crate) struct BodyShare {
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
            turns: Turns::default(),
            bodies: Shares::new(settings.bodies_of_address),
            bodies_of: HolderShares::new(settings.requests_of),
            daily: Daily::new(settings.daily),
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
        let address = address.map(|address| self.bodies.take(&network(address)));
        let address = address.map(|share| share.ok_or_else(ApiError::share_used_up)).transpose()?;
        Ok(BodyShare { _address: address, _of: of })
    }

    /// Takes the share of an answer that is written piece by piece.
    pub(crate) fn stream(&self, key: &KeyRow) -> Result<StreamShare, ApiError> {
        let of = self.streams_of.take(key)?;
        Ok(StreamShare { turns: self.turns.of(key.id), _of: of })
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
