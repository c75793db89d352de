//! The signer's memory in etcd: a shared place with compare-and-set.
//!
//! Two calls of etcd 3.4 or later are used, in the JSON of its gateway, which is on by default: a linearizable read of one key,
//! and a transaction that replaces the key if nobody has since. An entry has the revision of the last change of its key.
//!
//! - [`Etcd`]: the two calls.
//! - `gateway`: which endpoint is asked, and for how long.
//! - `login`: name and password, where etcd wants them.

mod error;
mod gateway;
mod login;
mod wire;

use async_trait::async_trait;
use identity_log::proof::memory::{Entry, Revision, SharedPlace, Unreachable};

use self::gateway::Gateway;
use self::wire::{Range, RangeAnswer, Transaction, TransactionAnswer};

pub use self::error::EtcdError;
pub use self::gateway::{ENDPOINT_TIMEOUT, Settings};
pub use self::login::Account;

/// An etcd.
#[derive(Debug)]
pub struct Etcd {
    gateway: Gateway,
}

impl Etcd {
    /// The etcd at these endpoints. It is not asked yet.
    pub fn new(settings: Settings) -> Result<Self, EtcdError> {
        Ok(Self { gateway: Gateway::new(settings)? })
    }
}

#[async_trait]
impl SharedPlace for Etcd {
    async fn read(&self, name: &str) -> Result<Option<Entry>, Unreachable> {
        let answer: RangeAnswer = self.gateway.call("/v3/kv/range", &Range::of(name)).await?;
        Ok(answer.entry()?)
    }

    async fn replace(
        &self,
        name: &str,
        text: &str,
        revision: Revision,
    ) -> Result<Option<Revision>, Unreachable> {
        let transaction = Transaction::replace(name, text, revision);
        let answer: TransactionAnswer = self.gateway.call("/v3/kv/txn", &transaction).await?;
        Ok(answer.revision())
    }
}
