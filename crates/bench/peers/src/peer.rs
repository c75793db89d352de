//! The interface of a peer: an event store that creates its own storage and begins streams.

use crate::identity::Created;

/// An event store.
pub(crate) trait Peer: Sized + Send + Sync + 'static {
    /// The crate whose version is read from Cargo.lock.
    const CRATE: &'static str;

    /// Creates the storage in an empty database or folder, and opens the connections of the writers.
    fn open(storage: &str, writers: u32) -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// Begins a stream with one event. Returns when it is committed.
    fn append(&self, created: Created) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Counts the events that are stored.
    fn count(&self, storage: &str) -> impl Future<Output = anyhow::Result<usize>> + Send;
}
