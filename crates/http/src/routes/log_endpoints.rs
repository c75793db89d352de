//! Log endpoints: addresses to which the history of the organization is sent. Contract, section 10.8. Admins write;
//! admins and auditors read.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use identity_log::recorded::timestamp;
use identity_webhooks::log_endpoints::{self, LogEndpoint, NewLogEndpoint};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::json as answer;
use super::webhooks::SHOWN_BEFORE;
use super::webhooks::address::{address, must_be_reachable};
use crate::caller::{Admin, AppSettings, Historian, Segments, uuid_segment};
use crate::code::Code;
use crate::conditional::unless_same;
use crate::error::ApiError;
use crate::fault::Complaint;
use crate::form::reader::{Reader, whole_number};
use crate::form::{Form, ReadForm, Sent};
use crate::headers::IfNoneMatch;
use crate::reply::Answer;

/// How many types of events an endpoint names at most.
const MAX_TYPES: usize = 64;

/// The longest name of a type.
const MAX_TYPE_BYTES: usize = 100;

/// The largest number up to which JavaScript represents every whole number.
const MAX_SEQUENCE: u64 = 9_007_199_254_740_991;

/// An address to which the history is sent, event by event and in order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogEndpoint)]
pub(crate) struct LogEndpointBody {
    /// Its id.
    id: Uuid,
    /// Its organization.
    organization_id: String,
    /// The address.
    url: String,
    /// The types of events that it gets, as the history names them; all if null.
    #[schema(required)]
    event_types: Option<Vec<String>>,
    /// The `organization_sequence` of the last event that was delivered.
    delivered_upto: i64,
    /// Why nothing is sent until a replay is asked for; null if events are sent.
    #[schema(required)]
    disabled_reason: Option<String>,
    /// Since when everything that is sent fails.
    #[schema(required, format = DateTime)]
    failing_since: Option<String>,
    /// When something was sent last.
    #[schema(required, format = DateTime)]
    last_attempt_at: Option<String>,
    /// The status that was answered then.
    #[schema(required)]
    last_status: Option<i16>,
    /// Why nothing was answered then.
    #[schema(required)]
    last_error: Option<String>,
    /// The key that created it.
    created_by: String,
    /// When it was created.
    #[schema(format = DateTime)]
    created_at: String,
}

/// The log endpoints of an organization.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogEndpoints {
    /// The endpoints, oldest first.
    log_endpoints: Vec<LogEndpointBody>,
}

/// A new log endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreatedLogEndpoint {
    /// The endpoint.
    #[serde(flatten)]
    endpoint: LogEndpointBody,
    /// The key with which deliveries are signed. It is shown this once: a repetition of the request does not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_key: Option<String>,
    /// Why it is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

impl From<LogEndpoint> for LogEndpointBody {
    fn from(endpoint: LogEndpoint) -> Self {
        Self {
            id: endpoint.id,
            organization_id: endpoint.organization_id,
            url: endpoint.url,
            event_types: endpoint.event_types,
            delivered_upto: endpoint.sequence,
            disabled_reason: endpoint.disabled_reason,
            failing_since: endpoint.failing_since.map(timestamp),
            last_attempt_at: endpoint.last_attempt_at.map(timestamp),
            last_status: endpoint.last_status,
            last_error: endpoint.last_error,
            created_by: endpoint.created_by,
            created_at: timestamp(endpoint.created_at),
        }
    }
}

/// List log endpoints
#[utoipa::path(get, path = "/api/v1/webhooks/log-endpoints", tag = "Webhooks",
    responses((status = 200, description = "The endpoints", body = LogEndpoints)))]
pub(crate) async fn list_log_endpoints(
    Historian(caller): Historian,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let endpoints = log_endpoints::list(caller.pool().await, caller.organization_id()).await?;
    let log_endpoints = endpoints.into_iter().map(LogEndpointBody::from).collect();
    // The cursor of an endpoint moves without an event, so the history does not tell whether the list has changed.
    unless_same(&headers, answer(StatusCode::OK, &LogEndpoints { log_endpoints })?).await
}

/// Create a log endpoint
///
/// The history of the organization is sent to it in order, one event at a time. It has a signing key of its own.
#[utoipa::path(post, path = "/api/v1/webhooks/log-endpoints", tag = "Webhooks",
    responses((status = 201, description = "The endpoint", body = CreatedLogEndpoint)),
    extensions(("x-errors" = json!([Code::TooManyWebhooks]))))]
pub(crate) async fn create_log_endpoint(
    Admin(caller): Admin,
    body: Sent<LogEndpointForm>,
) -> Result<Response, ApiError> {
    let LogEndpointForm(new) = body.read(caller.settings())?;
    must_be_reachable(&caller, &new.url).await?;
    let mut write = caller.begin_outside_log().await?;
    let (organization, actor) = (caller.organization_id(), caller.actor().id());
    let created =
        log_endpoints::create(write.connection(), caller.secrets_key(), organization, &actor, &new).await?;
    let (endpoint, key) = created.ok_or_else(ApiError::too_many_log_endpoints)?;
    let endpoint = LogEndpointBody::from(endpoint);
    // The answer that is stored for repetitions does not have the key, since the key is shown only once.
    let kept = CreatedLogEndpoint { endpoint, signing_key: None, message: Some(SHOWN_BEFORE) };
    write.keep_answer(&Answer::json(StatusCode::CREATED, &kept)?).await?;
    write.commit().await?;
    let signing_key = Some(key.text().to_owned());
    answer(StatusCode::CREATED, &CreatedLogEndpoint { signing_key, message: None, ..kept })
}

/// Body of `POST /webhooks/log-endpoints`.
#[derive(Debug)]
pub(crate) struct LogEndpointForm(NewLogEndpoint);

impl ReadForm for LogEndpointForm {
    const NAME: &'static str = "CreateLogEndpoint";
    const EXAMPLE: &'static str = r#"{ "url": "https://harbor.example/history", "after": 0 }"#;

    fn read(form: &mut Form, settings: &AppSettings) -> Option<Self> {
        let url = form.required("url", "Where the history is sent", address(&settings.webhook_policy));
        let about = "The types of events that are sent, as the history names them; all if absent";
        let event_types = form.lenient("event_types", about, types());
        let about = "Events after this `organization_sequence` are sent; those to come if absent";
        let after = form.lenient("after", about, whole_number(MAX_SEQUENCE));
        let after = after.and_then(|after| i64::try_from(after).ok());
        Some(Self(NewLogEndpoint { url: url?, event_types, after }))
    }
}

fn types() -> impl Reader<Value, Vec<String>> {
    let item =
        json!({ "type": "string", "minLength": 1, "maxLength": MAX_TYPE_BYTES, "pattern": "^[a-z_.]+$" });
    (read_types, move || json!({ "type": "array", "items": item, "minItems": 1, "maxItems": MAX_TYPES }))
}

fn read_types(value: &Value) -> Result<Vec<String>, Complaint> {
    let is_name = |name: &&str| {
        let is_letter = |letter: u8| letter.is_ascii_lowercase() || b"._".contains(&letter);
        (1..=MAX_TYPE_BYTES).contains(&name.len()) && name.bytes().all(is_letter)
    };
    let names = value.as_array().filter(|names| (1..=MAX_TYPES).contains(&names.len()));
    let names = names.and_then(|names| {
        names.iter().map(|name| name.as_str().filter(is_name).map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    let message = format!("Input should be a list of 1 to {MAX_TYPES} names of events");
    names.ok_or_else(|| Complaint::new("list_type", message))
}

/// Delete a log endpoint
#[utoipa::path(delete, path = "/api/v1/webhooks/log-endpoints/{endpoint_id}", tag = "Webhooks",
    responses((status = 204, description = "Done")),
    extensions(("x-errors" = json!([Code::LogEndpointNotFound]))))]
pub(crate) async fn delete_log_endpoint(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let id = uuid_segment("endpoint_id", &id)?;
    let mut write = caller.begin_deletion_outside_log().await?;
    // A repetition that comes meanwhile waits here, and then finds the answer.
    let done = Answer::nothing();
    write.keep_answer(&done).await?;
    if !log_endpoints::delete(write.connection(), caller.organization_id(), id).await? {
        return Err(ApiError::log_endpoint_not_found());
    }
    write.commit().await?;
    Ok(done.into_response())
}

/// Send a part of the history again
///
/// Sends the events after a place in the history again, in order. An endpoint to which nothing was sent gets events again.
#[utoipa::path(post, path = "/api/v1/webhooks/log-endpoints/{endpoint_id}/replay", tag = "Webhooks",
    responses((status = 200, description = "The endpoint", body = LogEndpointBody)),
    extensions(("x-errors" = json!([Code::LogEndpointNotFound]))))]
pub(crate) async fn replay_log_endpoint(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
    body: Sent<ReplayForm>,
) -> Result<Response, ApiError> {
    let id = uuid_segment("endpoint_id", &id)?;
    let ReplayForm { after } = body.read(caller.settings())?;
    let mut write = caller.begin_outside_log().await?;
    let replayed = log_endpoints::replay(write.connection(), caller.organization_id(), id, after).await?;
    let endpoint = replayed.ok_or_else(ApiError::log_endpoint_not_found)?;
    let done = Answer::json(StatusCode::OK, &LogEndpointBody::from(endpoint))?;
    write.keep_answer(&done).await?;
    write.commit().await?;
    Ok(done.into_response())
}

/// Body of `POST …/replay`.
#[derive(Debug)]
pub(crate) struct ReplayForm {
    after: i64,
}

impl ReadForm for ReplayForm {
    const NAME: &'static str = "ReplayLogEndpoint";
    const EXAMPLE: &'static str = r#"{ "after": 1000 }"#;

    fn read(form: &mut Form, _: &AppSettings) -> Option<Self> {
        let about = "Events after this `organization_sequence` are sent";
        let after = form.required("after", about, whole_number(MAX_SEQUENCE))?;
        Some(Self { after: i64::try_from(after).ok()? })
    }
}
