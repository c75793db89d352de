//! `Idempotency-Key`: a write that is sent again gets the same answer again, and is carried out once. The answer is stored
//! in the transaction of the write (see [`identity_log::idempotency`]). `replay` is the middleware that finds it.

pub(crate) mod replay;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use identity_log::idempotency::{self, Record};
use sqlx::PgPool;

use crate::error::ApiError;

/// A key and the digest of its request.
#[derive(Debug, Clone)]
pub(crate) struct Idempotency {
    pub(crate) key: String,
    pub(crate) fingerprint: [u8; 32],
    /// Whether the key was used for another request. Such a request is refused before it writes anything, and after everything
    /// for which it is refused without a key (`Caller::refuse_reused_key`).
    pub(crate) is_reused: bool,
    /// Marks the key as in flight until the last clone of this is dropped.
    _flight: Arc<Flight>,
}

/// Keys whose requests are being answered by this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<HashSet<ScopedKey>>>);

/// A key with the organization and the scope in which it is unique.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ScopedKey {
    organization_id: String,
    scope: String,
    key: String,
}

impl ScopedKey {
    /// The record of the write under this key, if there was one.
    async fn find(&self, pool: &PgPool, fingerprint: &[u8]) -> Result<Option<Record>, ApiError> {
        Ok(idempotency::find(pool, &self.organization_id, &self.scope, (&self.key, fingerprint)).await?)
    }
}

/// A key that is in flight until this is dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    in_flight: InFlight,
    key: ScopedKey,
}

impl InFlight {
    /// Marks a key as in flight; `None` if it is already.
    fn begin(&self, key: ScopedKey) -> Option<Flight> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        begun.then(|| Flight { in_flight: self.clone(), key })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.in_flight.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
