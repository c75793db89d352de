//! Composition: starts database, log, read models and listeners, and stops them in the right order.

mod following;
mod listeners;
mod pool;
mod stopping;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use identity_http::cache::Cache;
use identity_http::limits;
use identity_http::{App, AppSettings, KeyUses, Parts, Preparation, Readiness};
use identity_log::feeds::Feeds;
use identity_log::follow::Head;
use identity_log::primary::Primary;
use identity_log::proof::signer::Signer;
use identity_log::signing_keys::SecretsKey;
use identity_log::{Committer, Log, Settings as LogSettings};
use identity_projections::finder::Finder;
use identity_webhooks::Webhooks;
use identity_webhooks::deliveries::limits::Recorded;
use identity_webhooks::metrics::Metrics as WebhookMetrics;
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use self::following::Following;
use self::listeners::Listeners;
use self::pool::{lazy_pool, webhook_pool};
use self::stopping::{close, unless_locked};
use crate::metrics::Metrics;
use crate::retention::Retention;
use crate::secrets_key::SecretsSettings;
use crate::sending::SendingWebhooks;
use crate::settings::{PostgresSettings, QuotaSettings, WireSettings};
use crate::signing::SigningSettings;
use crate::tls::Tls;
use crate::witnesses::{AskingWitnesses, Witness};
use crate::{database, preparation, retention, roles};

/// How many connections are for probes and metrics, so that these do not wait behind clients.
const OWN_CONNECTIONS: u32 = 1;

/// After how long without an event a live stream sends a comment.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// The settings of a service.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Address to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where Postgres is, as a `postgres://` URL.
    pub database_url: SecretString,
    /// The same database as the role that owns the tables, if that is another one.
    pub owner_url: Option<SecretString>,
    /// The platform's mail domain.
    pub mail_domain: String,
    /// The zone in which tunnels get their public host.
    pub tunnel_zone: String,
    /// How long the names of a deleted identity stay reserved; zero frees them at once.
    pub name_hold: Duration,
    /// Longest description of an identity, in characters.
    pub description_limit: usize,
    /// The key that signs the log.
    pub signing: SigningSettings,
    /// The key under which signing keys of identities are sealed.
    pub secrets: SecretsSettings,
    /// Settings of connections and requests.
    pub wire: WireSettings,
    /// Quotas.
    pub quotas: QuotaSettings,
    /// How Postgres is used.
    pub postgres: PostgresSettings,
    /// How long the answer to a write with an `Idempotency-Key` is stored for repetitions.
    pub idempotency_retention: Duration,
    /// Whether a signer whose memory is empty takes the checkpoints in the database for the last ones.
    pub trust_checkpoints: bool,
    /// Who is asked to cosign checkpoints.
    pub witnesses: Vec<Witness>,
    /// After how long without an event a live stream sends a comment: [`HEARTBEAT`], except in tests.
    pub heartbeat: Duration,
    /// Where webhooks may be sent, and when.
    pub webhooks: identity_webhooks::Settings,
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    tls: Option<Tls>,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
    committer: JoinHandle<()>,
    preparing: JoinHandle<()>,
    readiness: Readiness,
    following: Following,
    feeding: JoinHandle<()>,
    finding: JoinHandle<()>,
    finding_keys: JoinHandle<()>,
    signing: Signing,
    keeping_uses: KeepingUses,
    sending: SendingWebhooks,
    pruning: JoinHandle<Infallible>,
    pools: [PgPool; 3],
}

impl Service {
    /// Binds the address, migrates the database and starts to answer. Read models of an older version are rebuilt first;
    /// until then every request is answered with 503.
    pub async fn start(settings: ServiceSettings) -> anyhow::Result<Self> {
        let wire = &settings.wire;
        let tls = wire.tls.clone().map(Tls::load).transpose()?;
        warn_of_equal_domains(&settings);
        let listeners = Listeners::open(settings.listen, wire).await?;
        let primary = Primary::new(settings.postgres.timeout, settings.postgres.max_unconfirmed);
        let pool = prepared_pool(&settings, &primary).await?;
        let signer = settings.signing.signer(pool.clone(), settings.trust_checkpoints).await?;
        let secrets_key = settings.secrets.load(&pool).await?;
        let (told, readiness) = announced(&pool).await?;
        let own_pool = lazy_pool(&settings.database_url, "identityd probes", OWN_CONNECTIONS, &primary)?;
        let (cache, key_uses) = (Cache::new(), KeyUses::default());
        let (metrics, counters) =
            Metrics::new(pool.clone(), own_pool.clone(), signer.clone(), tls.clone(), cache.clone());
        let (log, committer) = open_log(&pool, &settings, &signer, &cache);
        let (following, head) =
            Following::start(&settings.database_url, &own_pool, signer.key(), &log, &cache, &primary).await?;
        let (feeds, feeding) = Feeds::new(pool.clone(), head.clone());
        let (finder, finding) = Finder::new(pool.clone());
        let (key_finder, finding_keys) = Finder::new(pool.clone());
        let webhook_pool = webhook_pool(&settings.database_url, &primary)?;
        let webhooks = webhooks(&settings, webhook_pool.clone(), secrets_key.clone(), counters.webhooks)?;
        let app = App::new(Parts {
            pool: pool.clone(),
            own_pool: own_pool.clone(),
            primary: primary.clone(),
            log: log.clone(),
            signer: signer.clone(),
            feeds,
            secrets_key,
            settings: app_settings(&settings),
            readiness: readiness.clone(),
            finder,
            key_finder,
            cache,
            key_uses: key_uses.clone(),
            webhooks: webhooks.clone(),
            metrics: counters.requests,
        });
        let (stop, stopped) = watch::channel(false);
        Ok(Self {
            address: listeners.api.local_addr()?,
            metrics_address: listeners.metrics_address()?,
            following,
            feeding: tokio::spawn(feeding.run()),
            finding: tokio::spawn(finding.run()),
            finding_keys: tokio::spawn(finding_keys.run()),
            keeping_uses: KeepingUses::start(key_uses, pool.clone()),
            pruning: prune(&pool, &primary, &settings, webhooks.recorded()),
            sending: SendingWebhooks::start(webhooks, &head, log, &readiness, &primary),
            signing: Signing::start(signer, &pool, &settings, head, &primary)?,
            servers: listeners.serve(app, metrics, wire, tls.as_ref(), &stopped),
            tls,
            stop,
            committer: tokio::spawn(committer.counted_by(counters.commits).run()),
            preparing: prepare(&pool, &primary, &settings, told, stopped),
            readiness,
            pools: [webhook_pool, own_pool, pool],
        })
    }

    /// The address of the API.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of `/metrics`, if it could be served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Whether the API is served over TLS.
    fn speaks_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The scheme of its URLs.
    pub fn scheme(&self) -> &'static str {
        if self.speaks_tls() { "https" } else { "http" }
    }

    /// Reads the TLS certificate and its key again. If they cannot be used, the ones that were read before stay.
    pub fn reload(&self) -> anyhow::Result<()> {
        self.tls.as_ref().map_or(Ok(()), Tls::reload)
    }

    /// Returns when the service answers requests. If the service is stopped before, this never returns.
    pub async fn ready(&self) {
        let mut readiness = self.readiness.clone();
        if readiness.wait_for(Option::is_none).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Stops accepting connections, and lets running requests end. When the last request has dropped its handle of the
    /// log, the committer commits the waiting commands, and ends.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        self.pruning.abort();
        // Called before the servers are awaited, so that the leases of deliveries end at once, although requests may
        // take longer.
        let sending = self.sending.stop();
        unless_locked("followers", self.following.stop()).await?;
        for server in self.servers {
            server.await.context("the server was cut off")?;
        }
        let readers = async {
            self.preparing.await.context("the rebuild of read models was cut off")?;
            self.feeding.await.context("the task that tells of new events was cut off")?;
            self.finding.await.context("the task that finds identities was cut off")?;
            self.finding_keys.await.context("the task that finds keys was cut off")
        };
        let committer = async { self.committer.await.context("the committer was cut off") };
        tokio::try_join!(
            unless_locked("webhooks", sending.ended()),
            // No request is running any more, so no use of a key is noted after this.
            unless_locked("uses of keys", self.keeping_uses.stop()),
            unless_locked("readers", readers),
            unless_locked("the committer", committer),
        )?;
        unless_locked("the signer", self.signing.stop()).await?;
        for pool in &self.pools {
            close(pool).await;
        }
        Ok(())
    }
}

/// The task that stores when keys were last used.
#[derive(Debug)]
struct KeepingUses {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl KeepingUses {
    fn start(uses: KeyUses, pool: PgPool) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        Self { stop, task: tokio::spawn(uses.run(pool, async move { drop(stopped.await) })) }
    }

    /// Stores the last uses and ends.
    async fn stop(self) -> anyhow::Result<()> {
        let _: Result<(), ()> = self.stop.send(());
        self.task.await.context("the task that stores uses of keys was cut off")
    }
}

/// The task that signs, and those that ask witnesses.
#[derive(Debug)]
struct Signing {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    asking: AskingWitnesses,
}

impl Signing {
    fn start(
        signer: Signer,
        pool: &PgPool,
        settings: &ServiceSettings,
        head: watch::Receiver<Head>,
        primary: &Primary,
    ) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (witnesses, authorities) = (&settings.witnesses, &settings.webhooks.authorities);
        let asking = AskingWitnesses::start(witnesses, authorities, pool, &head, primary)?;
        let task = tokio::spawn(signer.run(head, primary.clone(), async move { drop(stopped.await) }));
        Ok(Self { stop, task, asking })
    }

    /// Signs the last events and ends. Witnesses are not asked for these.
    async fn stop(self) -> anyhow::Result<()> {
        drop(self.asking);
        let _: Result<(), ()> = self.stop.send(());
        self.task.await.context("the signer was cut off")
    }
}

/// The channel of [`Readiness`]. Requests are not answered while read models of an older version wait to be rebuilt.
async fn announced(pool: &PgPool) -> anyhow::Result<(watch::Sender<Option<Preparation>>, Readiness)> {
    let outdated = preparation::outdated(pool, true).await.context("cannot look up the read models")?;
    Ok(watch::channel(outdated.as_deref().map(preparation::announced)))
}

fn open_log(pool: &PgPool, settings: &ServiceSettings, signer: &Signer, cache: &Cache) -> (Log, Committer) {
    let log_settings = LogSettings {
        quotas: settings.quotas.of_identity,
        subscriptions: settings.quotas.subscriptions,
        max_clock_jump: settings.postgres.max_clock_jump,
        database_timeout: settings.postgres.timeout,
        ..LogSettings::new(settings.name_hold, signer.key().seal_key())
    };
    let options = identity_log::connect_options(pool);
    let (log, committer) = Log::open(options, identity_projections::all(), log_settings);
    (log, committer.before_readers(pool.clone()).observed_by(Arc::new(cache.clone())))
}

/// If both have the same name, a tunnel can have the address of a host of the mail domain.
fn warn_of_equal_domains(settings: &ServiceSettings) {
    if settings.mail_domain == settings.tunnel_zone {
        tracing::warn!(domain = settings.mail_domain, "mail_domain and tunnel_zone are the same: use two");
    }
}

/// Webhooks with connections of their own.
fn webhooks(
    settings: &ServiceSettings,
    pool: PgPool,
    key: SecretsKey,
    metrics: WebhookMetrics,
) -> anyhow::Result<Webhooks> {
    if settings.webhooks.policy.allows_loopback {
        tracing::warn!(
            "webhooks may be sent to addresses of this machine, and over http: this is for demonstrations"
        );
    }
    Ok(Webhooks::new(pool, key, &settings.webhooks, metrics)?)
}

/// Connections to the database, which is brought up to date.
async fn prepared_pool(settings: &ServiceSettings, primary: &Primary) -> anyhow::Result<PgPool> {
    let pool =
        lazy_pool(&settings.database_url, pool::APPLICATION_NAME, settings.postgres.connections, primary)?;
    database::prepare(&pool, settings.owner_url.as_ref(), settings.postgres).await?;
    Ok(pool)
}

/// Rebuilds read models of an older version.
fn prepare(
    pool: &PgPool,
    primary: &Primary,
    settings: &ServiceSettings,
    told: watch::Sender<Option<Preparation>>,
    stopped: watch::Receiver<bool>,
) -> JoinHandle<()> {
    tokio::spawn(preparation::run(
        pool.clone(),
        primary.clone(),
        settings.postgres.rebuild_workers,
        told,
        stopped,
    ))
}

/// Begins to delete what is kept for too long, and deliveries of organizations that have too many.
fn prune(
    pool: &PgPool,
    primary: &Primary,
    settings: &ServiceSettings,
    recorded: &Recorded,
) -> JoinHandle<Infallible> {
    let retention =
        Retention { idempotency: settings.idempotency_retention, webhooks: settings.webhooks.retention };
    tokio::spawn(retention::run(pool.clone(), primary.clone(), retention, recorded.clone()))
}

/// Of the connections for clients, a key uses a quarter at the same time at most, and an organization half of them.
fn connections_of(connections: u32) -> limits::OfHolders {
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    limits::OfHolders { key: connections / 4, organization: connections / 2 }
}

fn app_settings(settings: &ServiceSettings) -> AppSettings {
    AppSettings {
        mail_domain: settings.mail_domain.clone(),
        tunnel_zone: settings.tunnel_zone.clone(),
        longest_description: settings.description_limit,
        limits: limits::Settings {
            daily: settings.quotas.daily,
            bulk_bytes_per_second: settings.quotas.bulk_bytes_per_second,
            connections_of: connections_of(settings.postgres.connections),
            ..settings.wire.limits
        },
        longest_request: settings.wire.longest_request,
        heartbeat: settings.heartbeat,
        webhook_policy: settings.webhooks.policy.clone(),
        needed_rights: roles::rights::needed(),
    }
}
