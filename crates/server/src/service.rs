//! Composition: database, log, read models and wire put together, and taken apart again in good order.

use std::convert::Infallible;
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::serve::ListenerExt as _;
use identity_http::{App, AppSettings, Readiness};
use identity_log::carrier::NumberPool;
use identity_log::follow::Follower;
use identity_log::{Log, Settings as LogSettings};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::signing::SigningSettings;
use crate::{database, preparation, retention};

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
    /// Who signs the log.
    pub signing: SigningSettings,
    /// How long a write under an `Idempotency-Key` is answered again.
    pub idempotency_retention: Duration,
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
    committer: JoinHandle<()>,
    preparing: JoinHandle<()>,
    stop_preparing: watch::Sender<bool>,
    readiness: Readiness,
    follower: JoinHandle<()>,
    stop_signing: oneshot::Sender<()>,
    signer: JoinHandle<()>,
    pruning: JoinHandle<Infallible>,
    pool: PgPool,
}

impl Service {
    /// Binds the address, migrates the database and starts to answer. Where read models are of an older version, they
    /// are rebuilt first; until then every request is told to come again.
    pub async fn start(settings: ServiceSettings) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await;
        let listener = listener.with_context(|| format!("cannot listen on {}", settings.listen))?;
        let address = listener.local_addr()?;
        let pool = pool(&settings.database_url)?;
        database::prepare(&pool).await?;
        let signer = settings.signing.signer(pool.clone())?;
        let options = identity_log::connect_options(&pool);
        let outdated = preparation::outdated(&options).await.context("cannot look read models up")?;
        let (told, readiness) = watch::channel(outdated.as_deref().map(preparation::announced));
        let (stop_preparing, stopped_preparing) = watch::channel(false);
        let (log, committer) = Log::open(
            identity_log::connect_options(&pool),
            identity_projections::all(),
            Arc::new(NumberPool),
            LogSettings { name_hold: settings.name_hold },
        );
        let (follower, head) = Follower::new(pool.clone());
        let idempotency_retention = settings.idempotency_retention;
        let app = App::new(
            pool.clone(),
            log,
            signer.clone(),
            head.clone(),
            app_settings(settings),
            readiness.clone(),
        );
        let (stop, stopped) = oneshot::channel::<()>();
        // Answers are small and wanted at once: Nagle's algorithm would hold them back.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let serving = axum::serve(listener, identity_http::router(app))
            .with_graceful_shutdown(async move { drop(stopped.await) })
            .into_future();
        let (stop_signing, signing_stopped) = oneshot::channel::<()>();
        Ok(Self {
            follower: tokio::spawn(follower.run()),
            stop_signing,
            signer: tokio::spawn(signer.run(head, async move { drop(signing_stopped.await) })),
            address,
            stop,
            server: tokio::spawn(serving),
            committer: tokio::spawn(committer.run()),
            preparing: tokio::spawn(preparation::run(options, told, stopped_preparing)),
            stop_preparing,
            readiness,
            pruning: tokio::spawn(retention::run(pool.clone(), idempotency_retention)),
            pool,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns when the service answers. If it never will, because it was told to stop, this does not return.
    pub async fn ready(&self) {
        let mut readiness = self.readiness.clone();
        if readiness.wait_for(Option::is_none).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Stops accepting and lets running requests end. The committer ends by itself when the last of them has let go of
    /// the log, after everything that waited was committed.
    pub async fn stop(self) -> anyhow::Result<()> {
        // If the server is gone already there is nobody to tell.
        let _: Result<(), ()> = self.stop.send(());
        self.stop_preparing.send_replace(true);
        // Answers that follow the log would never end by themselves; they end when nobody tells of news any more. That
        // the follower was cancelled is all there is to hear of it.
        self.follower.abort();
        drop(self.follower.await);
        self.pruning.abort();
        self.server.await.context("the server was cut off")?.context("the server failed")?;
        self.preparing.await.context("the rebuild of read models was cut off")?;
        self.committer.await.context("the committer was cut off")?;
        // What was committed last is signed before the signer ends.
        let _: Result<(), ()> = self.stop_signing.send(());
        self.signer.await.context("the signer was cut off")?;
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
