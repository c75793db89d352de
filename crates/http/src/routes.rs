//! One file a resource.

pub(crate) mod access;
pub(crate) mod api_keys;
pub(crate) mod docs;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod identities;
pub(crate) mod identity_forms;
pub(crate) mod log;
pub(crate) mod mailboxes;
pub(crate) mod past;
pub(crate) mod phone_numbers;
pub(crate) mod tunnels;
pub(crate) mod vault;
pub(crate) mod whoami;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use identity_domain::Event;
use identity_domain::identity::{Channel, Event as IdentityEvent};
use identity_log::{Committed, read};
use identity_projections::document::FilterModeChangeNotice;
use serde::Serialize;

use crate::caller::Caller;
use crate::conditional::{entity_tag, is_known, tagged};
use crate::error::ApiError;

/// An answer whose JSON text is already there.
fn json_text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// An answer in JSON.
fn json<T: Serialize>(status: StatusCode, body: &T) -> Result<Response, ApiError> {
    Ok(json_text(status, serde_json::to_string(body)?))
}

/// Answers with a list, unless the client has it already.
///
/// A list's entity tag is where the organization's history stands, and who the viewer is: nothing else decides what
/// is in it. It is read before the list, so it is never newer than that.
async fn unless_known(
    caller: &Caller,
    headers: &HeaderMap,
    list: impl AsyncFnOnce() -> Result<Response, ApiError>,
) -> Result<Response, ApiError> {
    let head = read::organization_head(caller.pool(), caller.organization_id()).await?;
    let tag = match caller.viewer().agent_id() {
        None => entity_tag(head),
        Some(viewer) => format!("\"{head}-{}\"", viewer.simple()),
    };
    if is_known(headers, &tag) {
        return Ok(tagged(StatusCode::NOT_MODIFIED.into_response(), &tag));
    }
    Ok(tagged(list().await?, &tag))
}

/// Answers with something of an identity's, unless the client has it under this very tag already.
fn unless_current(
    headers: &HeaderMap,
    tag: &str,
    answer: impl FnOnce() -> Result<Response, ApiError>,
) -> Result<Response, ApiError> {
    if is_known(headers, tag) {
        return Ok(tagged(StatusCode::NOT_MODIFIED.into_response(), tag));
    }
    Ok(tagged(answer()?, tag))
}

/// The notice that follows from a commit, if it changed the mode of this channel.
fn filter_mode_change_notice(committed: &Committed, wanted: Channel) -> Option<FilterModeChangeNotice> {
    committed.events.iter().find_map(|recorded| match &recorded.event {
        Event::Identity(IdentityEvent::FilterModeChanged { channel, filter_mode }) if *channel == wanted => {
            Some(FilterModeChangeNotice::flipped_to(*filter_mode))
        }
        _ => None,
    })
}
