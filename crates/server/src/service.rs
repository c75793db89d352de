//! Composition: database, log, read models and wire put together, and taken apart again in good order.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::serve::ListenerExt as _;
use identity_http::{App, AppSettings};
use identity_log::carrier::NumberPool;
use identity_log::follow::Follower;
use identity_log::{Log, Settings as LogSettings};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::database;

/// How many connections read for clients. Writes share the one of the committer.
const CONNECTIONS: u32 = 16;

/// How long a request waits for a connection before it is told to come again.
const PATIENCE: Duration = Duration::from_secs(3);

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
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
    committer: JoinHandle<()>,
    /// They only read, and can be cut off at any moment.
    watchers: [JoinHandle<()>; 2],
    pool: PgPool,
}

impl Service {
    /// Migrates the database, binds the address and starts to answer.
    pub async fn start(settings: ServiceSettings) -> anyhow::Result<Self> {
        let pool = pool(&settings.database_url)?;
        database::prepare(&pool).await?;
        let listener = TcpListener::bind(settings.listen).await;
        let listener = listener.with_context(|| format!("cannot listen on {}", settings.listen))?;
        let address = listener.local_addr()?;
        let (log, committer) = Log::open(
            identity_log::connect_options(&pool),
            identity_projections::all(),
            Arc::new(NumberPool),
            LogSettings { name_hold: settings.name_hold },
        );
        let (follower, head) = Follower::new(pool.clone());
        let (app, key_watch) = App::new(pool.clone(), log, app_settings(settings), head);
        let (stop, stopped) = oneshot::channel::<()>();
        // Answers are small and wanted at once: Nagle's algorithm would hold them back.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let serving = axum::serve(listener, identity_http::router(app))
            .with_graceful_shutdown(async move { drop(stopped.await) })
            .into_future();
        Ok(Self {
            address,
            stop,
            server: tokio::spawn(serving),
            committer: tokio::spawn(committer.run()),
            watchers: [tokio::spawn(follower.run()), tokio::spawn(key_watch.run())],
            pool,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting and lets running requests end. The committer ends by itself when the last of them has let go of
    /// the log, after everything that waited was committed.
    pub async fn stop(self) -> anyhow::Result<()> {
        // If the server is gone already there is nobody to tell.
        let _: Result<(), ()> = self.stop.send(());
        self.server.await.context("the server was cut off")?.context("the server failed")?;
        self.committer.await.context("the committer was cut off")?;
        self.watchers.iter().for_each(JoinHandle::abort);
        self.pool.close().await;
        Ok(())
    }
}

fn pool(database_url: &str) -> anyhow::Result<PgPool> {
    let options: PgConnectOptions = database_url.parse().context("the database URL is not valid")?;
    let options = options.application_name("identityd").disable_statement_logging();
    // A connection is looked at when it is given back; looking again when it is taken costs a round trip a request.
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false);
    Ok(pool.connect_lazy_with(options))
}

fn app_settings(settings: ServiceSettings) -> AppSettings {
    AppSettings {
        mail_domain: settings.mail_domain,
        tunnel_zone: settings.tunnel_zone,
        longest_description: settings.description_limit,
    }
}
