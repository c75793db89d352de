//! The caller of a request. A handler reaches the log and the database only through its caller, so no handler can
//! forget to check the key.
//!
//! The key is found, checked for its end, and counted by `caller/app.rs`; `api_key.rs` takes its text apart and compares the
//! secret. `caller/writes.rs` sends commands.

mod app;
pub(crate) mod outside_log;
mod segments;
pub(crate) mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::HeaderName;
use axum::http::request;
use identity_domain::Handle;
use identity_log::primary::Primary;
use identity_log::proof::signer::Signer;
use identity_log::signing_keys::SecretsKey;
use identity_log::{Actor, Fate};
use identity_projections::api_keys::{KeyScope, Row as KeyRow};
use identity_projections::identities::Viewer;
use identity_projections::key_uses;
use identity_webhooks::Webhooks;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::api_key::Presented;
use crate::cache::{NameRef, Ticket};
use crate::context::Context;
use crate::cursor::Seal;
use crate::database::Database;
use crate::error::ApiError;
use crate::followers::Followers;
use crate::found::Found;
use crate::headers;
use crate::idempotency::Idempotency;
use crate::limits::{ReplayShare, StreamShare};

pub(crate) use app::{Admission, KeyCheck, is_large};
pub use app::{App, AppSettings, Parts};
pub use segments::Segments;
pub(crate) use segments::uuid_segment;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The holder of a valid admin or agent key that makes a request.
#[derive(Debug)]
pub struct Caller {
    app: App,
    /// The key.
    pub key: Arc<KeyRow>,
    /// The key as it was presented.
    presented: Presented,
    request_id: Arc<str>,
    idempotency: Option<Idempotency>,
    /// Whether the command of this request is waiting, abandoned, or sent to Postgres.
    fate: Fate,
    /// Takes the shares of this request.
    admission: Admission,
    database: Database,
    /// The size of the identity that the request is about, if it has looked for one, and of what is deleted with it.
    found_bytes: AtomicU64,
    /// When the request arrived. Its answer takes everything into account that was committed before.
    arrived: Instant,
    /// The invalidation counter of the cache when the request began. Everything that the request reads is read later.
    began: Ticket,
}

/// A caller with an admin key.
#[derive(Debug)]
pub struct Admin(pub Caller);

/// A caller of an operation that only admins succeed with, and that finds its target before it refuses an agent: 404 for what the
/// agent does not see, 403 for the rest (`admin`).
#[derive(Debug)]
pub struct AdminAfterLookup(Caller);

/// A caller with an agent key, and the identity of the key.
#[derive(Debug)]
pub struct Agent(pub Caller, pub Uuid);

/// A caller who may read history: with an admin or an auditor key.
#[derive(Debug)]
pub struct Historian(pub Caller);

/// The holder of any valid key, also of an auditor key. It becomes a [`Caller`] only if the scope of the key allows
/// that.
#[derive(Debug)]
pub struct Holder(Caller);

impl FromRequestParts<App> for Holder {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, app: &App) -> Result<Self, ApiError> {
        let context = parts.extensions.get::<Context>().cloned();
        let context = context.ok_or_else(|| ApiError::internal("request without context".to_owned()))?;
        app.must_be_ready()?;
        app.must_be_current(&parts.method)?;
        let began = app.ticket();
        let header = headers::only(&parts.headers, &X_API_KEY).filter(|header| !header.is_empty());
        let (key, presented) = app.authenticate(header.ok_or_else(ApiError::unauthorized)?, &context).await?;
        context.identify(&key);
        app.charge(&key, &context)?;
        let idempotency = parts.extensions.get::<Idempotency>().cloned();
        let admission = Admission::new(app, &key, presented, &context);
        if !context.awaits_body {
            admission.enter()?;
        }
        parts.extensions.insert(admission.clone());
        let Context { request_id, arrived, fate, turn, .. } = context;
        let database = Database::new(&app.0.parts.pool, app.primary(), app.0.limits.turns(), &key, turn);
        let app = app.clone();
        Ok(Self(Caller {
            app,
            key,
            presented,
            request_id,
            idempotency,
            fate,
            admission,
            database,
            found_bytes: AtomicU64::default(),
            arrived,
            began,
        }))
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, app: &App) -> Result<Self, ApiError> {
        <Holder as FromRequestParts<App>>::from_request_parts(parts, app).await?.caller()
    }
}

impl FromRequestParts<App> for Historian {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, app: &App) -> Result<Self, ApiError> {
        <Holder as FromRequestParts<App>>::from_request_parts(parts, app).await?.historian()
    }
}

impl Holder {
    /// The key that was presented.
    pub fn key(&self) -> &KeyRow {
        &self.0.key
    }

    /// When the key was last used. Uses are stored with a delay, see `key_uses`.
    pub async fn last_used_at(&self) -> Result<Option<OffsetDateTime>, ApiError> {
        Ok(key_uses::last(self.0.pool().await, self.0.key.id).await?)
    }

    /// Refuses auditors, who only read, and not everything.
    pub fn caller(self) -> Result<Caller, ApiError> {
        match self.0.key.scope {
            KeyScope::Admin | KeyScope::Agent => Ok(self.0),
            KeyScope::Auditor => Err(ApiError::forbidden(
                "An auditor-scoped API key may only read history, webhook subscriptions and log endpoints",
            )),
        }
    }

    /// A caller for reads that are open to every key, also to auditor keys.
    pub(crate) fn reader(self) -> Caller {
        self.0
    }

    /// Refuses agents: history shows what they must not see.
    pub fn historian(self) -> Result<Historian, ApiError> {
        match self.0.key.scope {
            KeyScope::Admin | KeyScope::Auditor => Ok(Historian(self.0)),
            KeyScope::Agent => {
                Err(ApiError::forbidden("History requires an admin-scoped or auditor-scoped API key"))
            }
        }
    }
}

impl FromRequestParts<App> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, app: &App) -> Result<Self, ApiError> {
        let caller = <Caller as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        if caller.is_admin() {
            Ok(Self(caller))
        } else {
            Err(ApiError::forbidden("This endpoint requires an admin-scoped API key"))
        }
    }
}

impl FromRequestParts<App> for AdminAfterLookup {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, app: &App) -> Result<Self, ApiError> {
        <Caller as FromRequestParts<App>>::from_request_parts(parts, app).await.map(Self)
    }
}

impl AdminAfterLookup {
    /// The caller, who looks for the target.
    pub(crate) fn looking(&self) -> &Caller {
        &self.0
    }

    /// The caller, if it is an admin. `what` names the action in the error text.
    pub(crate) fn admin(self, what: &str) -> Result<Caller, ApiError> {
        self.0.admins_only(what).map(|()| self.0)
    }
}

impl FromRequestParts<App> for Agent {
    type Rejection = ApiError;

    /// Refuses an admin, whose key is bound to no identity.
    async fn from_request_parts(parts: &mut request::Parts, app: &App) -> Result<Self, ApiError> {
        let caller = <Caller as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        let identity = caller.key.identity_id.ok_or_else(ApiError::signing_key_of_nobody)?;
        Ok(Self(caller, identity))
    }
}

impl Caller {
    /// Whether the key is an admin's.
    pub(crate) fn is_admin(&self) -> bool {
        self.key.scope == KeyScope::Admin
    }

    /// Whether the key is bound to this identity.
    pub fn is(&self, identity: Uuid) -> bool {
        self.key.identity_id == Some(identity)
    }

    /// The organization of the key.
    pub fn organization_id(&self) -> &str {
        &self.key.organization_id
    }

    /// The viewer whose view the queries of this caller take.
    pub fn viewer(&self) -> Viewer {
        self.key.identity_id.map_or(Viewer::Admin, Viewer::Agent)
    }

    /// The database, once it is the turn of this request.
    pub async fn pool(&self) -> &PgPool {
        self.database.pool().await
    }

    /// The database, once it is the turn of this request for a large read.
    pub(crate) async fn pool_for_large(&self) -> &PgPool {
        self.database.pool_for_large().await
    }

    /// Waits for the turn of a large read, if what was read is large: to write and to send it takes a processor for a while.
    pub(crate) async fn turn_for(&self, bytes: usize) {
        if is_large(bytes) {
            self.database.pool_for_large().await;
        }
    }

    /// Ends the turn on the database, before something that takes long and needs no connection.
    pub(crate) async fn give_back_turn(&self) {
        self.database.give_back().await;
    }

    /// The database, for pieces of a long answer, which wait for turns of their own.
    pub(crate) fn pool_of_pieces(&self) -> &PgPool {
        self.database.pool_of_pieces()
    }

    /// Whether the database answers, and is still the primary.
    pub(crate) fn primary(&self) -> &Primary {
        self.app.primary()
    }

    /// The signer of the log, once it is the turn of this request on the database.
    pub async fn signer(&self) -> &Signer {
        self.database.pool().await;
        &self.app.0.parts.signer
    }

    /// The signer, for what takes its turns by itself: the end of a long answer.
    pub(crate) fn signer_of_pieces(&self) -> &Signer {
        &self.app.0.parts.signer
    }

    /// The key under which signing keys and tokens of webhooks are sealed.
    pub(crate) fn secrets_key(&self) -> &SecretsKey {
        &self.app.0.parts.secrets_key
    }

    /// Counts an attempt to open the vault. A wrong hash costs as much as the right one.
    pub(crate) fn charge_vault_attempt(&self) -> Result<(), ApiError> {
        self.app.charge_vault_attempt(self.key.id)
    }

    /// The share of a delivery to a webhook subscription that is sent again.
    pub(crate) fn replay(&self, subscription: Uuid) -> Result<ReplayShare, ApiError> {
        self.app.0.limits.replay(&self.key, subscription)
    }

    /// Checks addresses of webhooks, and sends deliveries again.
    pub(crate) fn webhooks(&self) -> &Webhooks {
        &self.app.0.parts.webhooks
    }

    /// The key that authenticates cursors of lists.
    pub(crate) fn seal(&self) -> &Seal {
        &self.app.0.seal
    }

    /// The feeds and the pieces of history that live streams share.
    pub(crate) fn followers(&self) -> &Followers {
        &self.app.0.followers
    }

    /// The settings.
    pub fn settings(&self) -> &AppSettings {
        &self.app.0.parts.settings
    }

    /// Checks later whether the key is still valid.
    pub(crate) fn key_check(&self) -> KeyCheck {
        KeyCheck::new(&self.app, self.presented)
    }

    /// How the caller is named in history.
    pub fn actor(&self) -> Actor {
        let key = self.key.id;
        match (self.key.scope, self.key.identity_id) {
            (KeyScope::Auditor, _) => Actor::AuditorKey(key),
            (_, Some(identity)) => Actor::AgentKey { key, identity },
            (_, None) => Actor::AdminKey(key),
        }
    }

    /// Takes the shares of this request.
    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Takes the share of a stream, for an answer that is written piece by piece, and has so many bytes in memory until its end.
    pub(crate) async fn stream(&self, bytes: usize) -> Result<StreamShare, ApiError> {
        self.app.0.limits.stream(&self.key, bytes).await
    }

    /// SHA-256 of the secret that the caller presented, in hexadecimal.
    pub(crate) fn secret_sha256(&self) -> String {
        self.presented.sha256()
    }

    /// The identity with this handle, if the caller may see it. Text that is not a valid handle is answered like a
    /// handle that no identity has.
    pub(crate) async fn find(&self, handle: &str) -> Result<Arc<Found>, ApiError> {
        let handle = Handle::parse(handle).map_err(|_| ApiError::identity_not_found())?;
        let name = NameRef { organization_id: self.organization_id(), handle: handle.as_str() };
        let found = self.app.identity(name, &self.viewer(), self.arrived, &self.database).await?;
        let found = found.ok_or_else(ApiError::identity_not_found)?;
        self.found_bytes.store(found.bytes() as u64, Ordering::Relaxed);
        Ok(found)
    }

    /// The identity with this handle, if the caller may change it: an agent may change only itself (D6).
    pub(crate) async fn find_own(&self, handle: &str) -> Result<Arc<Found>, ApiError> {
        let found = self.find(handle).await?;
        if self.is_admin() || self.is(found.id) {
            Ok(found)
        } else {
            Err(ApiError::forbidden("This API key may only act on its own identity"))
        }
    }

    /// Refuses agents. `what` names the action in the error text.
    pub(crate) fn admins_only(&self, what: &str) -> Result<(), ApiError> {
        if self.is_admin() {
            Ok(())
        } else {
            Err(ApiError::forbidden(&format!("{what} requires an admin-scoped API key")))
        }
    }
}
