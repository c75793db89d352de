//! The entries of one installation in a place that all hosts share.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use identity_proof::SigningKey;
use tokio::sync::OnceCell;

use super::error::MemoryError;
use super::place::{Entry, Revision, SharedPlace, Unreachable};

/// The entries of one installation. Clones share their state.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    place: Arc<dyn SharedPlace>,
    /// The beginning of all names of this installation. Another installation may use the same place.
    prefix: String,
    /// Whether the place did not answer when it was asked last.
    is_away: Arc<AtomicBool>,
    /// Set once the files of this host were brought here.
    pub(super) brought: Arc<OnceCell<()>>,
}

impl Shared {
    pub(super) fn new(place: Arc<dyn SharedPlace>, key: &SigningKey) -> Self {
        let (is_away, brought) = Default::default();
        Self { place, prefix: prefix(key), is_away, brought }
    }

    /// The entries of the installation after its key was replaced by this one.
    pub(super) fn of_key(&self, key: &SigningKey) -> Self {
        Self { prefix: prefix(key), ..self.clone() }
    }

    pub(super) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    pub(super) async fn read(&self, name: &str) -> Result<Option<Entry>, MemoryError> {
        self.noted(self.place.read(&self.full(name)).await)
    }

    pub(super) async fn replace(
        &self,
        name: &str,
        text: &str,
        revision: Revision,
    ) -> Result<Option<Revision>, MemoryError> {
        self.noted(self.place.replace(&self.full(name), text, revision).await)
    }

    fn full(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// Notes whether the place has answered, and logs it when that has changed.
    fn noted<T>(&self, answer: Result<T, Unreachable>) -> Result<T, MemoryError> {
        let was_away = self.is_away.swap(answer.is_err(), Ordering::Relaxed);
        match &answer {
            Err(error) if !was_away => {
                let error: &(dyn Error + 'static) = error.as_ref();
                tracing::error!(
                    error,
                    "the memory of the signer does not answer: nothing is signed until it does"
                );
            }
            Ok(_) if was_away => tracing::info!("the memory of the signer answers again"),
            _ => {}
        }
        answer.map_err(MemoryError::Away)
    }
}

/// `identityd/` and the id of the key, as its verifier key has it.
fn prefix(key: &SigningKey) -> String {
    let name = key.introduced_name();
    format!("identityd/{}", name.split('+').nth(1).unwrap_or_default())
}
