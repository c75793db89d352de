//! The handlers, one file for each resource.

pub(crate) mod access;
pub(crate) mod api_keys;
pub(crate) mod directory;
pub(crate) mod docs;
pub(crate) mod events;
pub(crate) mod filter_forms;
pub(crate) mod health;
pub(crate) mod identities;
pub(crate) mod identity_forms;
pub(crate) mod imessage;
pub(crate) mod incoming_calls;
pub(crate) mod interruption;
pub(crate) mod log;
pub(crate) mod log_endpoints;
pub(crate) mod mailboxes;
mod owned;
pub(crate) mod past;
pub(crate) mod phone_forms;
pub(crate) mod phone_numbers;
pub(crate) mod pieces;
pub(crate) mod signing_keys;
pub(crate) mod tunnels;
pub(crate) mod vault;
pub(crate) mod webhook_deliveries;
pub(crate) mod webhooks;
pub(crate) mod whoami;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use identity_domain::Event;
use identity_domain::identity::{Channel, Event as IdentityEvent};
use identity_log::Committed;
use identity_projections::document::FilterModeChangeNotice;
use serde::Serialize;

use crate::error::ApiError;

/// An answer with this JSON text.
pub(crate) fn json_text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// An answer in JSON.
fn json<T: Serialize>(status: StatusCode, body: &T) -> Result<Response, ApiError> {
    Ok(json_text(status, serde_json::to_string(body)?))
}

/// The notice that follows from a commit, if it gave both directions of this channel one mode.
fn filter_mode_change_notice(committed: &Committed, wanted: Channel) -> Option<FilterModeChangeNotice> {
    committed.events.iter().find_map(|recorded| match &recorded.event {
        Event::Identity(IdentityEvent::FilterModeChanged { channel, modes }) if *channel == wanted => {
            modes.common().map(FilterModeChangeNotice::flipped_to)
        }
        _ => None,
    })
}
