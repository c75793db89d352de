//! A place that all hosts share, such as etcd.

use std::error::Error;
use std::fmt::Debug;

use async_trait::async_trait;

/// How often an entry was changed, in numbers that only grow. 0: there is no entry.
pub type Revision = i64;

/// The revision of an entry that is not there.
pub(super) const NOT_THERE: Revision = 0;

/// Why a shared place could not be read or written.
pub type Unreachable = Box<dyn Error + Send + Sync>;

/// A place that all hosts of an installation share.
#[async_trait]
pub trait SharedPlace: Debug + Send + Sync {
    /// The entry of this name: the one that was stored last, by whatever host.
    async fn read(&self, name: &str) -> Result<Option<Entry>, Unreachable>;

    /// Stores a text, if the entry still has this revision. Returns its new revision; `None` if the entry has another one, and
    /// stays. After an error it may have been stored or not.
    async fn replace(
        &self,
        name: &str,
        text: &str,
        revision: Revision,
    ) -> Result<Option<Revision>, Unreachable>;
}

/// What is stored under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What was stored.
    pub text: String,
    /// When.
    pub revision: Revision,
}
