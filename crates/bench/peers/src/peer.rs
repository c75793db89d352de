//! What a peer has to be: an event store that makes its own schema, and begins streams in it.

use crate::identity::Created;

/// An event store over Postgres.
pub(crate) trait Peer: Sized + Send + Sync + 'static {
    /// The crate whose version Cargo.lock tells.
    const CRATE: &'static str;

    /// How many events its table holds.
    const COUNT: &'static str;

    /// Prepares the schema in an empty database, and has as many connections ready as are told.
    fn open(database_url: &str, connections: u32) -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// Begins a stream with one event, and comes back when it is committed.
    fn append(&self, created: Created) -> impl Future<Output = anyhow::Result<()>> + Send;
}
