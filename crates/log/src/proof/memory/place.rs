//! A place that all hosts share, such as etcd.

use std::error::Error;
use std::fmt::Debug;

use async_trait::async_trait;

/// A number that grows with each change of an entry. 0 means that there is no entry.
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

    /// Stores a text if the entry still has this revision, and returns the new revision. If the entry has another one, it stays as it
    /// is, and the answer is `None`. After an error the text may have been stored or not.
    async fn replace(
        &self,
        name: &str,
        text: &str,
        revision: Revision,
    ) -> Result<Option<Revision>, Unreachable>;
}

/// A text that is stored under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The text.
    pub text: String,
    /// The revision that it made.
    pub revision: Revision,
}
