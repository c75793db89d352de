//! `GET /metrics` for Prometheus: counters of this process, and facts about the log and the read models from the database.
//! The database is asked at each scrape, so a rebuild in another process is visible here, too.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crate::tls::Tls;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use identity_http::cache::Cache;
use identity_http::{App, around};
use identity_log::proof::signer::Signer;
use identity_projections::rebuild;
use identity_projections::registry::{self, Entry};
use identity_projections::{Table, tables};
use identity_webhooks::metrics::Waiting;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use sqlx::{FromRow, PgPool};
use tokio::sync::Mutex;

/// The prefix of every name.
const PREFIX: &str = "identityd";

/// How long the database may take to answer before the rest is shown without it.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// How old a count of the free phone numbers may be.
const RECOUNT_INTERVAL: Duration = Duration::from_mins(1);

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// The pool whose connections are counted.
    pool: PgPool,
    /// The pool for queries.
    own_pool: PgPool,
    tls: Option<Tls>,
    free_numbers: FreeNumbers,
    signer: Signer,
    cache: Cache,
}

/// Counters that other parts of the service write.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) requests: identity_http::metrics::Metrics,
    pub(crate) commits: identity_log::metrics::Metrics,
    pub(crate) webhooks: identity_webhooks::metrics::Metrics,
}

impl Metrics {
    pub(crate) fn new(
        pool: PgPool,
        own_pool: PgPool,
        signer: Signer,
        tls: Option<Tls>,
        cache: Cache,
    ) -> (Self, Counters) {
        let mut registry = Registry::with_prefix(PREFIX);
        let requests = identity_http::metrics::Metrics::new(&mut registry);
        let commits = identity_log::metrics::Metrics::new(&mut registry);
        let webhooks = identity_webhooks::metrics::Metrics::new(&mut registry);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of identityd", version);
        let free_numbers = FreeNumbers::default();
        (
            Self { registry, pool, own_pool, tls, free_numbers, signer, cache },
            Counters { requests, commits, webhooks },
        )
    }

    /// All of it as text.
    async fn show(&self, app: &App) -> Result<String, std::fmt::Error> {
        let mut present = Registry::with_prefix(PREFIX);
        register_pool(&mut present, &self.pool);
        register_signer(&mut present, &self.signer);
        let sole = "Whether this process answers from memory without asking the database, since no other one commits";
        gauge(&mut present, "sole_process", sole, i64::from(self.cache.is_sole()));
        if let Some(expires_at) = self.tls.as_ref().and_then(Tls::expires_at) {
            let (name, help) =
                ("tls_certificate_expires_timestamp_seconds", "When the TLS certificate expires");
            gauge(&mut present, name, help, expires_at.unix_timestamp());
        }
        let (is_ready, seen) = tokio::join!(
            tokio::time::timeout(DATABASE_TIMEOUT, app.is_ready()),
            tokio::time::timeout(DATABASE_TIMEOUT, self.look(app))
        );
        let ready = "Whether requests are answered, as `/readyz` tells";
        gauge(&mut present, "ready", ready, is_ready.unwrap_or(false).into());
        let jumped = "Whether nothing is written because the clock of the database has jumped ahead";
        gauge(&mut present, "clock_jumped", jumped, app.clock_has_jumped().into());
        // A request that needs the database logs why it cannot be reached.
        let seen = seen.ok().and_then(Result::ok);
        gauge(&mut present, "database_up", "Whether the database answers", i64::from(seen.is_some()));
        if let Some(seen) = seen {
            seen.register(&mut present);
        }
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &present)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

/// How many numbers of the pool are free, and when that was counted.
#[derive(Debug, Default)]
struct FreeNumbers(Mutex<Option<(Instant, i64)>>);

impl FreeNumbers {
    /// Counts them, unless that was done less than a minute ago: there may be very many.
    async fn count(&self, pool: &PgPool) -> Result<i64, sqlx::Error> {
        let mut last = self.0.lock().await;
        if let Some((_, count)) = last.filter(|(counted, _)| counted.elapsed() < RECOUNT_INTERVAL) {
            return Ok(count);
        }
        let query = "select count(*) from phone_number_pool where claimed_by is null";
        let count = sqlx::query_scalar(query).fetch_one(pool).await?;
        *last = Some((Instant::now(), count));
        Ok(count)
    }
}

/// The route on which it is shown. It needs no key, and shows no name and no id.
pub(crate) fn router(metrics: Metrics, app: App) -> Router {
    Router::new()
        .route("/metrics", get(show))
        .method_not_allowed_fallback(async |headers: HeaderMap| around::method_not_allowed(&headers))
        .with_state(Arc::new((metrics, app)))
}

async fn show(State(state): State<Arc<(Metrics, App)>>) -> Response {
    let (metrics, app) = &*state;
    match metrics.show(app).await {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        // Writing to a string does not fail.
        Err(std::fmt::Error) => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    let gauge = <Gauge>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Connections {
    state: &'static str,
}

fn register_pool(registry: &mut Registry, pool: &PgPool) {
    let connections = Family::<Connections, Gauge>::default();
    let idle = i64::try_from(pool.num_idle()).unwrap_or(i64::MAX);
    let open = i64::from(pool.size());
    connections.get_or_create(&Connections { state: "idle" }).set(idle);
    connections.get_or_create(&Connections { state: "in_use" }).set((open - idle).max(0));
    registry.register("pool_connections", "Connections to the database that read for clients", connections);
    let largest = i64::from(pool.options().get_max_connections());
    gauge(registry, "pool_connections_limit", "The most of them there may be", largest);
}

fn register_signer(registry: &mut Registry, signer: &Signer) {
    let (refused, unsigned) = signer.counts();
    for (name, help, count) in [
        (
            "logs_refused",
            "Logs of organizations that are not signed any more, until an operator has looked",
            refused,
        ),
        (
            "logs_unsigned",
            "Logs that could not be signed to their end in the last round, the refused ones included",
            unsigned,
        ),
    ] {
        gauge(registry, name, help, i64::try_from(count).unwrap_or(i64::MAX));
    }
    let help = "Whether the memory of the signer has answered when it was asked last";
    gauge(registry, "signer_memory_up", help, signer.memory_answers().into());
}

/// Facts from the database.
struct Seen {
    /// The position of the last event; `None` if `log_head` has no row.
    head: Option<i64>,
    server: DatabaseServer,
    free_numbers: i64,
    read_models: Vec<Entry>,
    webhooks: Waiting,
}

impl Metrics {
    async fn look(&self, app: &App) -> Result<Seen, sqlx::Error> {
        app.primary().answers().await;
        let pool = &self.own_pool;
        let head = sqlx::query_scalar("select position from log_head").fetch_optional(pool).await?;
        let server = DatabaseServer::look(pool).await?;
        let free_numbers = self.free_numbers.count(pool).await?;
        let webhooks = identity_webhooks::metrics::waiting(pool).await?;
        Ok(Seen { head, server, free_numbers, read_models: registry::list(pool).await?, webhooks })
    }
}

impl Seen {
    fn register(&self, registry: &mut Registry) {
        if let Some(head) = self.head {
            gauge(registry, "log_head_position", "The position of the last event", head);
        }
        self.server.register(registry);
        gauge(registry, "phone_numbers_free", "Numbers of the pool that nobody has", self.free_numbers);
        self.webhooks.register(registry);
        let read_models = ReadModels::default();
        for table in tables() {
            match self.read_models.iter().find(|entry| entry.name == table.name()) {
                Some(entry) => read_models.set(table.as_ref(), entry),
                None => {
                    read_models.outdated.get_or_create(&ReadModel { read_model: table.name() }).set(1);
                }
            }
        }
        read_models.register(registry);
    }
}

/// What the server of the database says of itself.
#[derive(FromRow)]
struct DatabaseServer {
    is_read_only: bool,
    notification_queue: f64,
    transaction_age: i64,
}

impl DatabaseServer {
    async fn look(pool: &PgPool) -> Result<Self, sqlx::Error> {
        sqlx::query_as(
            "select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean as is_read_only,
                    pg_notification_queue_usage() as notification_queue,
                    greatest(age(datfrozenxid), mxid_age(datminmxid))::bigint as transaction_age
             from pg_database where datname = current_database()",
        )
        .fetch_one(pool)
        .await
    }

    fn register(&self, registry: &mut Registry) {
        let read_only = "Whether the database takes no writes";
        gauge(registry, "database_read_only", read_only, self.is_read_only.into());
        let age = "How many transactions ago the oldest id of the database was given out";
        gauge(registry, "database_transaction_id_age", age, self.transaction_age);
        let usage = Gauge::<f64, AtomicU64>::default();
        usage.set(self.notification_queue);
        let help = "How full the queue of notifications of the database server is, from 0 to 1";
        registry.register("database_notification_queue_ratio", help, usage);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadModel {
    read_model: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InPhase {
    read_model: &'static str,
    phase: Phase,
}

/// The phase of a job, or how the last one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// As the job itself says.
    Said(rebuild::Phase),
    Failed,
    Interrupted,
    /// It was killed: its last phase is recorded as running, and no process has its lock.
    Killed,
}

impl Phase {
    fn all() -> impl Iterator<Item = Self> {
        let others = [Self::Failed, Self::Interrupted, Self::Killed];
        rebuild::Phase::ALL.into_iter().map(Self::Said).chain(others)
    }

    fn of(entry: &Entry) -> Option<Self> {
        let noted = entry.job_phase.as_deref()?;
        if noted.starts_with("failed") {
            return Some(Self::Failed);
        }
        if noted.starts_with("interrupted") {
            return Some(Self::Interrupted);
        }
        let said = rebuild::Phase::ALL.into_iter().find(|phase| phase.as_str() == noted)?;
        let has_ended = matches!(said, rebuild::Phase::Ready | rebuild::Phase::Done);
        Some(if entry.job_runs || has_ended { Self::Said(said) } else { Self::Killed })
    }
}

impl EncodeLabelValue for Phase {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Said(phase) => phase.as_str(),
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Killed => "killed",
        };
        name.encode(encoder)
    }
}

type Gauges = Family<ReadModel, Gauge>;

/// The gauges of read models.
#[derive(Default)]
struct ReadModels {
    outdated: Gauges,
    version: Gauges,
    wanted_version: Gauges,
    job_running: Gauges,
    job_phase: Family<InPhase, Gauge>,
    job_done: Gauges,
    job_total: Gauges,
    job_updated: Gauges,
    verified_at: Gauges,
    verified_position: Gauges,
    differences: Gauges,
}

impl ReadModels {
    fn set(&self, table: &dyn Table, entry: &Entry) {
        let label = ReadModel { read_model: table.name() };
        let set = |gauges: &Gauges, value: i64| {
            gauges.get_or_create(&label).set(value);
        };
        let seconds = |moment: Option<time::OffsetDateTime>| moment.map(time::OffsetDateTime::unix_timestamp);
        set(&self.outdated, (!entry.is_there || entry.version != table.version()).into());
        set(&self.version, entry.version.into());
        set(&self.wanted_version, table.version().into());
        set(&self.job_running, entry.job_runs.into());
        let known = [
            (&self.job_done, entry.job_done),
            (&self.job_total, entry.job_total),
            (&self.job_updated, seconds(entry.job_updated_at)),
            (&self.verified_at, seconds(entry.verified_at)),
            (&self.verified_position, entry.verified_position),
            (&self.differences, entry.differences),
        ];
        for (gauges, value) in known {
            if let Some(value) = value {
                set(gauges, value);
            }
        }
        let present = Phase::of(entry);
        for phase in Phase::all() {
            let label = InPhase { read_model: table.name(), phase };
            self.job_phase.get_or_create(&label).set((present == Some(phase)).into());
        }
    }

    fn register(self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("read_model");
        let gauges = [
            (
                "outdated",
                "Whether the live table is missing, or of another version than the software's",
                self.outdated,
            ),
            ("version", "The version of the fold that built the live table", self.version),
            ("wanted_version", "The version of the fold in this software", self.wanted_version),
            ("job_running", "Whether a rebuild is at work, in any process", self.job_running),
            ("job_events_done", "Events that the present or last rebuild has read", self.job_done),
            ("job_events_total", "Events that it has to read", self.job_total),
            ("job_updated_timestamp_seconds", "When it last said so", self.job_updated),
            ("verified_timestamp_seconds", "When the live table was last verified", self.verified_at),
            ("verified_position", "At which position of the log that was", self.verified_position),
            ("verified_differences", "How many differences there were", self.differences),
        ];
        for (name, help, family) in gauges {
            registry.register(name, help, family);
        }
        registry.register(
            "job_phase",
            "What a rebuild is doing, or how the last one ended: 1 for the phase it is in",
            self.job_phase,
        );
    }
}
