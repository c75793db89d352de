//! The interface of a peer: an event store that creates its own schema and begins streams.

use crate::identity::Created;

/// An event store over Postgres.
pub(crate) trait Peer: Sized + Send + Sync + 'static {
    /// The crate whose version is read from Cargo.lock.
    const CRATE: &'static str;

    /// SQL that counts the events in its table.
    const COUNT: &'static str;

    /// Creates the schema in an empty database, and opens this number of connections.
    fn open(database_url: &str, connections: u32) -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// Begins a stream with one event. Returns when it is committed.
    fn append(&self, created: Created) -> impl Future<Output = anyhow::Result<()>> + Send;
}
