//! The service as one piece: settings, composition, and what operators do.

pub mod database;
pub mod doctor;
pub mod fictional_numbers;
pub mod migrations;
pub mod numbers;
pub mod operator;
pub mod private_postgres;
pub mod settings;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;

/// What a running service needs to know.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Address to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where Postgres is, as a `postgres://` URL.
    pub database_url: String,
    /// The platform's mail domain.
    pub mail_domain: String,
    /// The zone in which tunnels get their public host.
    pub tunnel_zone: String,
    /// How long the names of a deleted identity stay reserved; zero frees them at once.
    pub name_hold: Duration,
    /// Longest description of an identity, in characters.
    pub description_limit: usize,
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
}

impl Service {
    /// Migrates the database, binds the address and starts to answer.
    pub async fn start(settings: ServiceSettings) -> anyhow::Result<Self> {
        let pool = sqlx::PgPool::connect(&settings.database_url).await?;
        database::prepare(&pool).await?;
        let listener = tokio::net::TcpListener::bind(settings.listen).await;
        let listener = listener.with_context(|| format!("cannot listen on {}", settings.listen))?;
        Ok(Self { address: listener.local_addr()? })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets running requests end, flushes the log.
    #[expect(clippy::unused_async, reason = "will wait for requests and for the log")]
    pub async fn stop(self) -> anyhow::Result<()> {
        Ok(())
    }
}
