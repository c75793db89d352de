//! The state that all requests share. Handlers reach it through their caller.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, Method};
use identity_log::Log;
use identity_log::feeds::Feeds;
use identity_log::primary::Primary;
use identity_log::proof::signer::Signer;
use identity_log::signing_keys::SecretsKey;
use identity_projections::api_keys::Row as KeyRow;
use identity_projections::finder::{FindError, Finder, KeyId};
use identity_projections::identities::{IdentityQuery, Viewer};
use identity_webhooks::Webhooks;
use identity_webhooks::address::Policy;
use sqlx::PgPool;
use uuid::Uuid;

use crate::api_key::Presented;
use crate::cache::{Cache, NameRef, Ticket};
use crate::clock;
use crate::code::Code;
use crate::context::{Context, Slot};
use crate::cursor::Seal;
use crate::database::Database;
use crate::error::ApiError;
use crate::followers::Followers;
use crate::found::Found;
use crate::idempotency::InFlight;
use crate::key_uses::KeyUses;
use crate::limits::{self, AnswerShare, BodyShare, Limits, RequestShare};
use crate::metrics::{Kind, Metrics};
use crate::readiness::{NeededRight, NotReady, Probe, Probed, Readiness};
use crate::unconfirmed::UnconfirmedCreates;

/// How long a request with an invalid key waits for its answer, once its address has sent more invalid keys than it may. Without this
/// pause, somebody who guesses keys over a few dozen connections would take most of a core.
const GUESS_DELAY: Duration = Duration::from_millis(100);

/// The texts of an identity that take more bytes are a large read: hashing and sending them takes a processor for a while. Only an
/// identity with hundreds of viewers is so large.
const LARGE_IDENTITY: usize = 128 * 1024;

/// Whether an identity whose texts take so many bytes is a large read.
pub(crate) fn is_large(bytes: usize) -> bool {
    bytes > LARGE_IDENTITY
}

/// The state that all requests share. Only `caller` uses its fields.
#[derive(Debug, Clone)]
pub struct App(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) parts: Parts,
    in_flight: InFlight,
    pub(super) limits: Limits,
    probe: Probe,
    pub(super) followers: Followers,
    pub(super) unconfirmed_creates: UnconfirmedCreates,
    pub(super) seal: Seal,
}

/// The parts of an [`App`].
#[derive(Debug)]
pub struct Parts {
    /// Connections to the migrated database.
    pub pool: PgPool,
    /// Connections for queries of the service itself, which do not wait behind those of clients.
    pub own_pool: PgPool,
    /// Whether the database answers, and is still the primary.
    pub primary: Primary,
    /// The log.
    pub log: Log,
    /// The signer of the log.
    pub signer: Signer,
    /// The key under which signing keys and tokens of webhooks are sealed.
    pub secrets_key: SecretsKey,
    /// How far the history of each organization reaches. The feeds end when the service stops, and live streams end
    /// with them.
    pub feeds: Feeds,
    /// The settings.
    pub settings: AppSettings,
    /// Whether requests are answered yet.
    pub readiness: Readiness,
    /// Finds identities that are not in the cache.
    pub finder: Finder<IdentityQuery>,
    /// Finds keys that are not in the cache.
    pub key_finder: Finder<KeyId>,
    /// Keys and identities in memory.
    pub cache: Cache,
    /// Notes which keys are used.
    pub key_uses: KeyUses,
    /// Checks addresses of webhooks, and sends deliveries again.
    pub webhooks: Webhooks,
    /// The metrics of requests.
    pub metrics: Metrics,
}

/// The settings that requests depend on.
#[derive(Debug, Clone, Default)]
pub struct AppSettings {
    /// The platform's mail domain.
    pub mail_domain: String,
    /// The zone in which tunnels get their public host.
    pub tunnel_zone: String,
    /// The longest description, in characters (D18).
    pub longest_description: usize,
    /// The limits on keys, organizations and addresses.
    pub limits: limits::Settings,
    /// How long a request may take before it is answered 503.
    pub longest_request: Duration,
    /// After how long without an event a live stream sends a comment, so that proxies do not close the connection.
    pub heartbeat: Duration,
    /// Where webhooks may be sent.
    pub webhook_policy: Policy,
    /// What the role of the service has to be allowed, so that requests can be answered.
    pub needed_rights: Vec<NeededRight>,
}

impl App {
    /// Puts the state together. Requests are answered once `readiness` says so.
    pub fn new(parts: Parts) -> Self {
        let limits = Limits::new(parts.settings.limits);
        let followers = Followers::new(parts.feeds.clone());
        let seal = Seal::new(parts.signer.key().authenticator("cursors of lists"));
        Self(Arc::new(Inner {
            parts,
            in_flight: InFlight::default(),
            limits,
            probe: Probe::default(),
            followers,
            unconfirmed_creates: UnconfirmedCreates::default(),
            seal,
        }))
    }

    /// Refuses until the service is ready: before that, a read model may have the shape of an older version.
    pub(crate) fn must_be_ready(&self) -> Result<(), ApiError> {
        self.0
            .parts
            .readiness
            .borrow()
            .as_ref()
            .map_or(Ok(()), |preparation| Err(ApiError::preparing(preparation)))
    }

    /// Refuses a read whose answer may be out of date, because nothing confirms any more that the database is the primary. A
    /// write needs no such check: it is confirmed, or it fails.
    pub(crate) fn must_be_current(&self, method: &Method) -> Result<(), ApiError> {
        if method.is_safe() { self.must_be_confirmed() } else { Ok(()) }
    }

    /// The same whatever the method is: for reads that a write depends on.
    pub(crate) fn must_be_confirmed(&self) -> Result<(), ApiError> {
        if self.primary().may_be_stale() {
            return Err(ApiError::unavailable(&NotReady::Unconfirmed));
        }
        Ok(())
    }

    /// Whether the database answers, and is still the primary.
    pub fn primary(&self) -> &Primary {
        &self.0.parts.primary
    }

    /// The metrics of requests.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.parts.metrics
    }

    /// The `Idempotency-Key`s of requests that are being answered.
    pub(crate) fn in_flight(&self) -> &InFlight {
        &self.0.in_flight
    }

    /// The settings.
    pub(crate) fn settings(&self) -> &AppSettings {
        &self.0.parts.settings
    }

    /// The key that a header presents, if it is valid. An invalid key is counted against the client's address.
    pub(super) async fn authenticate(
        &self,
        header: &HeaderValue,
        context: &Context,
    ) -> Result<(Arc<KeyRow>, Presented), ApiError> {
        if let Some(presented) = header.to_str().ok().and_then(Presented::parse)
            && let Some((key, _)) = self.valid_key(presented, context.arrived).await?
        {
            self.0.parts.key_uses.note(key.id, clock::now().into());
            return Ok((key, presented));
        }
        self.0.parts.metrics.refused_key();
        let error = self.0.limits.refused(context.client);
        if error.code() == Code::RateLimited {
            tokio::time::sleep(GUESS_DELAY).await;
        }
        Err(error)
    }

    /// Takes the tokens that this request costs. A request may be authenticated more than once, and is charged once.
    pub(super) fn charge(&self, key: &KeyRow, context: &Context) -> Result<(), ApiError> {
        if context.standing.get().is_some() {
            return Ok(());
        }
        let Some((standing, wait)) = self.0.limits.take(key) else { return Ok(()) };
        // `set` cannot fail: it was checked above, and one request is authenticated by one task.
        let _: Result<(), _> = context.standing.set(standing);
        wait.map_or(Ok(()), |seconds| Err(ApiError::too_many_requests(seconds)))
    }

    /// Takes the share of an answer that is in memory as a whole, if it is large.
    pub(crate) fn take_answer(&self, key: &KeyRow, bytes: usize) -> Result<Option<AnswerShare>, ApiError> {
        self.0.limits.answer(key, bytes)
    }

    /// Counts an attempt to open the vault.
    pub(super) fn charge_vault_attempt(&self, key: Uuid) -> Result<(), ApiError> {
        self.0.limits.take_vault_attempt(key)
    }

    /// The key that is presented and how long it is still valid, if it is valid now. Revocations before `since` count.
    async fn valid_key(
        &self,
        presented: Presented,
        since: Instant,
    ) -> Result<Option<(Arc<KeyRow>, Duration)>, FindError> {
        let key = self.key(presented.id, since).await?;
        Ok(key.and_then(|key| presented.remaining(&key, clock::now()).map(|remaining| (key, remaining))))
    }

    /// The key with this id, if it was not revoked.
    async fn key(&self, id: Uuid, since: Instant) -> Result<Option<Arc<KeyRow>>, FindError> {
        let Parts { key_finder, cache, metrics, .. } = &self.0.parts;
        let known = cache.key(id, since).await;
        metrics.looked_up(Kind::Key, known.is_some());
        if known.is_some() {
            return Ok(known);
        }
        let ticket = cache.ticket();
        let key = key_finder.find(KeyId(id)).await?;
        if let Some(key) = &key {
            cache.keep_key(ticket, key);
        }
        Ok(key)
    }

    /// The identity with this name as of `since` or later, if this viewer may see it. The request gets the turn of a large read if
    /// the identity is large.
    pub(super) async fn identity(
        &self,
        name: NameRef<'_>,
        viewer: &Viewer,
        since: Instant,
        database: &Database,
    ) -> Result<Option<Arc<Found>>, ApiError> {
        let Parts { finder, cache, metrics, .. } = &self.0.parts;
        let known = cache.identity(name, viewer.agent_id(), since).await;
        metrics.looked_up(Kind::Identity, known.is_some());
        if let Some(known) = known {
            if is_large(known.bytes()) {
                database.pool_for_large().await;
            }
            if let Some(found) = known.unpack() {
                return Ok(Some(Arc::new(found)));
            }
        }
        let ticket = cache.ticket();
        let wanted = IdentityQuery {
            organization_id: name.organization_id.to_owned(),
            viewer: viewer.clone(),
            handle: name.handle.to_owned(),
        };
        let found = finder.find(wanted).await?.map(Found::of).map(Arc::new);
        if let Some(found) = &found {
            if is_large(found.bytes()) {
                database.pool_for_large().await;
            }
            cache.keep_identity(ticket, name, viewer.agent_id(), found);
        }
        Ok(found)
    }

    /// The present value of the invalidation counter of the cache.
    pub(super) fn ticket(&self) -> Ticket {
        self.0.parts.cache.ticket()
    }

    /// Puts an identity as a write has made it into the cache, for this viewer.
    pub(super) fn keep_identity(&self, began: Ticket, name: NameRef<'_>, viewer: &Viewer, found: &Found) {
        self.0.parts.cache.keep_identity(began, name, viewer.agent_id(), found);
    }

    /// Whether the service answers requests, as `GET /readyz` tells. For metrics.
    pub async fn is_ready(&self) -> bool {
        self.must_be_ready().is_ok() && self.probe().await.is_ok()
    }

    /// Whether nothing is written because the clock of the database has jumped ahead. For metrics.
    pub fn clock_has_jumped(&self) -> bool {
        self.0.parts.log.clock_has_jumped()
    }

    /// Whether the database answers, has connections for requests, takes writes and has the tables of this software. For the
    /// readiness probe, which has no key.
    pub(crate) async fn probe(&self) -> Result<(), NotReady> {
        let Parts { pool, own_pool, primary, log, webhooks, settings, .. } = &self.0.parts;
        let pools = [pool, webhooks.pool()];
        self.0.probe.ask(Probed { own_pool, pools, rights: &settings.needed_rights, primary, log }).await
    }
}

/// The key of a request that takes long. It is checked again before every piece of the answer: if it was revoked or has
/// expired meanwhile, nothing more is done or shown.
#[derive(Debug, Clone)]
pub(crate) struct KeyCheck {
    app: App,
    presented: Presented,
}

impl KeyCheck {
    pub(super) fn new(app: &App, presented: Presented) -> Self {
        Self { app: app.clone(), presented }
    }

    /// How long the key remains valid unless it is changed; `None` if it is not valid any more.
    pub(crate) async fn remaining(&self) -> Result<Option<Duration>, FindError> {
        Ok(self.app.valid_key(self.presented, Instant::now()).await?.map(|(_, remaining)| remaining))
    }
}

/// Takes the shares of a request whose key is valid.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    app: App,
    key: Arc<KeyRow>,
    presented: Presented,
    client: Option<IpAddr>,
    body_bytes: Arc<AtomicU64>,
    slot: Slot<RequestShare>,
    answer: Slot<AnswerShare>,
}

impl Admission {
    pub(super) fn new(app: &App, key: &Arc<KeyRow>, presented: Presented, context: &Context) -> Self {
        let (client, body_bytes, slot) =
            (context.client, Arc::clone(&context.body_bytes), context.share.clone());
        let answer = context.answer.clone();
        Self { app: app.clone(), key: Arc::clone(key), presented, client, body_bytes, slot, answer }
    }

    /// Takes a share of the requests that are answered at the same time. Repeated calls take it once.
    pub(crate) fn enter(&self) -> Result<(), ApiError> {
        self.slot.fill(|| self.app.0.limits.request(&self.key))
    }

    /// Takes the share of an answer of about so many bytes before the write that it answers, if that is large: afterwards it could
    /// not be refused any more.
    pub(crate) fn expect_answer(&self, bytes: usize) -> Result<(), ApiError> {
        let share = self.app.0.limits.answer(&self.key, bytes)?;
        share.map_or(Ok(()), |share| self.answer.fill(|| Ok(share)))
    }

    /// Takes the share of a body that has not arrived yet.
    pub(crate) fn await_body(&self) -> Result<BodyShare, ApiError> {
        self.app.0.limits.body(&self.key, self.client)
    }

    /// The size of the body, if it has arrived.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.body_bytes.load(Ordering::Relaxed)
    }

    /// Takes the share of a request whose body of this size has arrived, if its key is still valid.
    pub(crate) async fn enter_with_body(&self, body_bytes: usize) -> Result<(), ApiError> {
        self.body_bytes.store(body_bytes as u64, Ordering::Relaxed);
        let remaining = KeyCheck::new(&self.app, self.presented).remaining().await?;
        remaining.map_or_else(|| Err(ApiError::unauthorized()), |_| self.enter())
    }
}
