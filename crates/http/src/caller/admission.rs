//! When a request counts: with its key if it has no body, else when its body has arrived.

use std::net::IpAddr;
use std::sync::Arc;

use identity_projections::api_keys::Row as KeyRow;

use super::{App, KeyCheck};
use crate::context::{Context, ShareSlot};
use crate::error::ApiError;
use crate::limits::BodyShare;

/// What a request with a good key needs to take its shares.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    app: App,
    key: Arc<KeyRow>,
    client: Option<IpAddr>,
    slot: ShareSlot,
}

impl Admission {
    pub(super) fn new(app: &App, key: &Arc<KeyRow>, context: &Context) -> Self {
        let (client, slot) = (context.client, context.share.clone());
        Self { app: app.clone(), key: Arc::clone(key), client, slot }
    }

    /// Lets the request in: it counts from now on. Again and again, and it counts once.
    pub(crate) fn enter(&self) -> Result<(), ApiError> {
        self.slot.fill(|| self.app.0.limits.request(&self.key))
    }

    /// Takes the share of a body that is awaited.
    pub(crate) fn await_body(&self) -> Result<BodyShare, ApiError> {
        self.app.0.limits.body(&self.key, self.client)
    }

    /// Lets the request in when its body has arrived, if its key is still valid.
    pub(crate) async fn enter_with_body(&self) -> Result<(), ApiError> {
        let key = KeyCheck { app: self.app.clone(), key: self.key.id };
        if !key.is_valid().await? {
            return Err(ApiError::unauthorized());
        }
        self.enter()
    }
}
