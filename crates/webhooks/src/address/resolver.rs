//! Which addresses a name has.
//!
//! The operating system resolves names, and each occupies a thread until it answers, which can be long after nobody waits for it
//! any more. So an organization has a share of the threads: names that are slow delay others of the same organization only.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task_local;

/// How many names are resolved at the same time.
const MAX_RESOLUTIONS: usize = 64;

/// How many of them may be of one organization.
const SHARE: usize = 8;

/// How long a name waits for its turn.
const MAX_WAIT: Duration = Duration::from_secs(2);

task_local! {
    static ORGANIZATION: Arc<str>;
}

/// Runs a future. The names that it resolves count for this organization.
pub(crate) async fn counted_for<F: Future>(organization: &str, future: F) -> F::Output {
    ORGANIZATION.scope(organization.into(), future).await
}

/// The same future, whose names count for the present organization, wherever it runs.
pub(crate) fn counted_as_now<F: Future>(future: F) -> impl Future<Output = F::Output> {
    ORGANIZATION.scope(present(), future)
}

/// The present organization; an empty text if there is none.
fn present() -> Arc<str> {
    ORGANIZATION.try_with(Arc::clone).unwrap_or_default()
}

/// The right to resolve one name, until it is dropped.
#[derive(Debug, Default)]
pub struct Turn(#[expect(dead_code, reason = "permits are only dropped")] Vec<OwnedSemaphorePermit>);

/// What resolves names.
#[async_trait]
pub trait Resolver: fmt::Debug + Send + Sync {
    /// Waits until a name may be resolved; `None` if that takes too long. This wait says nothing about the name.
    async fn turn(&self) -> Option<Turn> {
        Some(Turn::default())
    }

    /// All addresses of a name. The turn ends when it is resolved, also if nobody waits for it any more.
    async fn addresses(&self, name: &str, turn: Turn) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of the operating system, with its hosts file and its search order.
#[derive(Debug)]
pub struct SystemResolver {
    all: Arc<Semaphore>,
    /// The shares of the organizations whose names are being resolved, or wait for it.
    shares: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
    max_wait: Duration,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::with_max_wait(MAX_WAIT)
    }
}

impl SystemResolver {
    pub(crate) fn with_max_wait(max_wait: Duration) -> Self {
        Self { all: Arc::new(Semaphore::new(MAX_RESOLUTIONS)), shares: Mutex::default(), max_wait }
    }

    fn share(&self) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody has or awaits a permit of a share that only this map knows.
        shares.retain(|_, share| Arc::strong_count(share) > 1);
        Arc::clone(shares.entry(present()).or_insert_with(|| Arc::new(Semaphore::new(SHARE))))
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn turn(&self) -> Option<Turn> {
        let share = self.share();
        let permits = async {
            let of_share = share.acquire_owned().await.ok()?;
            Some(Turn(vec![of_share, Arc::clone(&self.all).acquire_owned().await.ok()?]))
        };
        tokio::time::timeout(self.max_wait, permits).await.ok().flatten()
    }

    async fn addresses(&self, name: &str, turn: Turn) -> io::Result<Vec<IpAddr>> {
        let name = name.to_owned();
        let resolution = tokio::task::spawn_blocking(move || {
            let addresses = (name.as_str(), 0).to_socket_addrs();
            drop(turn);
            Ok(addresses?.map(|address| address.ip()).collect())
        });
        resolution.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{MAX_RESOLUTIONS, Resolver as _, SHARE, SystemResolver, Turn, counted_for};

    #[tokio::test]
    async fn names_of_one_organization_leave_turns_for_others() {
        let resolver = SystemResolver::with_max_wait(Duration::from_millis(1));
        let turn = async |organization: &str| counted_for(organization, resolver.turn()).await;
        let mut turns: Vec<Option<Turn>> = vec![];
        for _ in 0..SHARE {
            turns.push(turn("acme").await);
        }
        assert!(turns.iter().all(Option::is_some));
        assert!(turn("acme").await.is_none());
        for number in 1..MAX_RESOLUTIONS / SHARE {
            turns.push(turn(&number.to_string()).await);
            assert!(turns.last().is_some_and(Option::is_some));
        }
        turns.clear();
        assert!(turn("acme").await.is_some());
        assert_eq!(resolver.shares.lock().unwrap().len(), 1);
    }
}
