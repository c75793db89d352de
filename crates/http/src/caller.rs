//! Who asks. A handler gets at the log and at the database only through its caller, so no handler can forget to ask
//! for a key: without one it has nothing to work with.

mod app;
pub(crate) mod writes;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::extract::path::Path;
use axum::http::HeaderName;
use axum::http::request;
use identity_domain::Handle;
use identity_log::primary::Primary;
use identity_log::proof::signer::Signer;
use identity_log::signing_keys::SecretsKey;
use identity_log::{Actor, Fate};
use identity_projections::api_keys::{KeyScope, Row as KeyRow};
use identity_projections::identities::{IdentityBody, Viewer};
use identity_projections::key_uses;
use identity_webhooks::Webhooks;
use serde::de::DeserializeOwned;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::api_key::Presented;
use crate::cache::{NameRef, Ticket};
use crate::context::Context;
use crate::cursor::Seal;
use crate::error::ApiError;
use crate::fault::Fault;
use crate::followers::Followers;
use crate::headers;
use crate::idempotency::Idempotency;
use crate::limits::StreamShare;

pub(crate) use app::{Admission, KeyCheck};
pub use app::{App, AppSettings, Parts};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Somebody with a good key that opens the API: an admin's or an agent's. An auditor's does not.
#[derive(Debug)]
pub struct Caller {
    app: App,
    /// The key.
    pub key: Arc<KeyRow>,
    /// The key as it was presented.
    presented: Presented,
    request_id: Arc<str>,
    idempotency: Option<Idempotency>,
    /// What becomes of the command of this request, if it asks for one.
    fate: Fate,
    /// By which it is let in.
    admission: Admission,
    /// When the request began: all that it reads is read later.
    began: Ticket,
}

/// Somebody with an admin's key.
#[derive(Debug)]
pub struct Admin(pub Caller);

/// Somebody who may read history: an admin or an auditor.
#[derive(Debug)]
pub struct Historian(pub Caller);

/// Somebody with any good key, an auditor's included. Hands out a [`Caller`] only to who may be one.
#[derive(Debug)]
pub struct Holder(Caller);

impl FromRequestParts<App> for Holder {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, app: &App) -> Result<Self, ApiError> {
        let context = parts.extensions.get::<Context>().cloned();
        let context = context.ok_or_else(|| ApiError::internal("request without context".to_owned()))?;
        app.must_be_ready()?;
        app.must_be_current(&parts.method)?;
        let began = app.now();
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
        let Context { request_id, fate, .. } = context;
        Ok(Self(Caller { app: app.clone(), key, presented, request_id, idempotency, fate, admission, began }))
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

    /// When the key was last used, as far as that is kept.
    pub async fn last_used_at(&self) -> Result<Option<OffsetDateTime>, ApiError> {
        Ok(key_uses::last(self.0.pool(), self.0.key.id).await?)
    }

    /// Refuses auditors: they get at nothing but history.
    pub fn caller(self) -> Result<Caller, ApiError> {
        match self.0.key.scope {
            KeyScope::Admin | KeyScope::Agent => Ok(self.0),
            KeyScope::Auditor => Err(ApiError::forbidden("An auditor-scoped API key may only read history")),
        }
    }

    /// A caller that reads what every key may read, an auditor's included.
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

impl Caller {
    /// Whether the key is an admin's.
    pub fn is_admin(&self) -> bool {
        self.key.scope == KeyScope::Admin
    }

    /// Whether the key is bound to this identity.
    pub fn is(&self, identity: Uuid) -> bool {
        self.key.identity_id == Some(identity)
    }

    /// The organization everything of this caller happens in.
    pub fn organization_id(&self) -> &str {
        &self.key.organization_id
    }

    /// Who reads: the caller reads.
    pub fn viewer(&self) -> Viewer {
        self.key.identity_id.map_or(Viewer::Admin, Viewer::Agent)
    }

    /// The database, for queries of read models.
    pub fn pool(&self) -> &PgPool {
        &self.app.0.parts.pool
    }

    /// What is known of the database.
    pub(crate) fn primary(&self) -> &Primary {
        self.app.primary()
    }

    /// Who signs the log.
    pub fn signer(&self) -> &Signer {
        &self.app.0.parts.signer
    }

    /// What seals signing keys.
    pub(crate) fn secrets_key(&self) -> &SecretsKey {
        &self.app.0.parts.secrets_key
    }

    /// Counts an attempt to open the vault: a hash that is guessed costs as much as one that is right.
    pub(crate) fn charge_vault_attempt(&self) -> Result<(), ApiError> {
        self.app.charge_vault_attempt(self.key.id)
    }

    /// Where webhooks may be sent, and how they are sent again.
    pub(crate) fn webhooks(&self) -> &Webhooks {
        &self.app.0.parts.webhooks
    }

    /// What closes and opens cursors of lists.
    pub(crate) fn seal(&self) -> &Seal {
        &self.app.0.seal
    }

    /// What followers of history share.
    pub(crate) fn followers(&self) -> &Followers {
        &self.app.0.followers
    }

    /// The settings.
    pub fn settings(&self) -> &AppSettings {
        &self.app.0.parts.settings
    }

    /// What looks at the key again.
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

    /// By which the request is let in.
    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Takes the share of an answer that is written piece by piece.
    pub(crate) fn stream(&self) -> Result<StreamShare, ApiError> {
        self.app.0.limits.stream(&self.key)
    }

    /// Whether the caller presented the latest secret of this key, and not the one before it.
    pub(crate) fn presents_latest_secret_of(&self, key: &KeyRow) -> bool {
        self.presented.matches(&key.secret_sha256)
    }

    /// The identity that a segment of the path names, if the caller may see it. What is no handle names nobody.
    pub async fn find(&self, handle: &str) -> Result<Arc<IdentityBody>, ApiError> {
        let handle = Handle::parse(handle).map_err(|_| ApiError::identity_not_found())?;
        let name = NameRef { organization_id: self.organization_id(), handle: handle.as_str() };
        self.app.identity(name, &self.viewer()).await?.ok_or_else(ApiError::identity_not_found)
    }

    /// The same, if the caller may change it: an agent changes nobody but itself (D6).
    pub async fn find_own(&self, handle: &str) -> Result<Arc<IdentityBody>, ApiError> {
        let found = self.find(handle).await?;
        if self.is_admin() || self.is(found.id) {
            Ok(found)
        } else {
            Err(ApiError::forbidden("This API key may only act on its own identity"))
        }
    }

    /// Refuses agents, naming what it is that only admins do.
    pub fn admins_only(&self, what: &str) -> Result<(), ApiError> {
        if self.is_admin() {
            Ok(())
        } else {
            Err(ApiError::forbidden(&format!("{what} requires an admin-scoped API key")))
        }
    }
}

/// Segments of the path, percent-decoded. What does not decode names nothing.
#[derive(Debug)]
pub struct Segments<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Segments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, app: &App) -> Result<Self, ApiError> {
        let path = <Path<T> as FromRequestParts<App>>::from_request_parts(parts, app).await;
        path.map(|Path(segments)| Self(segments)).map_err(|_| ApiError::unknown_route())
    }
}

/// A segment of the path that must be a UUID. Contract, section 0.3.
pub fn uuid_segment(name: &str, text: &str) -> Result<Uuid, ApiError> {
    text.parse().map_err(|_| ApiError::invalid(vec![Fault::path(name, text)]))
}
