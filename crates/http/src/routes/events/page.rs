//! A page of history: plain JSON, or a batch of `CloudEvents` 1.0.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use identity_log::history::{Entry, History};
use identity_log::recorded::write_timestamp;
use sqlx::PgPool;

use super::range::EventRange;
use crate::cursor::{self, HistoryPlace};
use crate::error::ApiError;
use crate::routes::pieces::PAGE_BYTES;

/// The header with the cursor of the next page: a batch of `CloudEvents` is a bare array without room for it.
const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

/// Answers with an [`EventPage`](identity_projections::bodies::EventPage).
pub(super) async fn json(range: EventRange, pool: &PgPool) -> Result<Response, ApiError> {
    let mut body = b"{\"events\":[".to_vec();
    let next = write(range, pool, &mut body, write_envelope).await?;
    body.extend_from_slice(b"],\"next\":");
    match next {
        Some(cursor) => body.extend(format!("\"{cursor}\"}}").bytes()),
        None => body.extend_from_slice(b"null}"),
    }
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Answers with an array of [`CloudEvent`](identity_projections::bodies::CloudEvent)s; the cursor of the next page, if there is
/// one, is in the header `X-Next-Cursor`.
pub(super) async fn cloud_events(range: EventRange, pool: &PgPool) -> Result<Response, ApiError> {
    let mut body = b"[".to_vec();
    let next = write(range, pool, &mut body, write_cloud_event).await?;
    body.push(b']');
    let content_type = [(header::CONTENT_TYPE, "application/cloudevents-batch+json")];
    let mut response = (StatusCode::OK, content_type, body).into_response();
    if let Some(cursor) = next.and_then(|cursor| HeaderValue::from_str(&cursor).ok()) {
        response.headers_mut().insert(NEXT_CURSOR, cursor);
    }
    Ok(response)
}

fn write_envelope(entry: &Entry<'_>, body: &mut Vec<u8>) {
    entry.write_envelope(body);
}

/// Writes the events of the page with commas between them. Returns the cursor after the last one, if there are more.
async fn write(
    EventRange { mut query, place, limit, .. }: EventRange,
    pool: &PgPool,
    body: &mut Vec<u8>,
    write_one: fn(&Entry<'_>, &mut Vec<u8>),
) -> Result<Option<String>, ApiError> {
    // One event more is read, to know whether there is a next page.
    query.limit = Some(limit + 1);
    let mut connection = pool.acquire().await?;
    let mut history = History::begin(&mut connection, &query);
    let (mut count, mut last, mut more) = (0, HistoryPlace::default(), false);
    while let Some(entry) = history.next().await? {
        if count == limit || body.len() >= PAGE_BYTES {
            more = true;
            break;
        }
        if count > 0 {
            body.push(b',');
        }
        write_one(&entry, body);
        (count, last) = (count + 1, HistoryPlace::behind(&entry));
    }
    drop(history);
    if !place.is_in(&mut *connection, &query.organization_id).await? {
        return Err(ApiError::history_changed());
    }
    Ok(more.then(|| cursor::encode(&query.organization_id, last)))
}

/// A `CloudEvent` in structured mode whose data is the envelope. `source` (the organization) and `id` (the place in its
/// history) are unique together.
fn write_cloud_event(entry: &Entry<'_>, body: &mut Vec<u8>) {
    let (organization, sequence) = (entry.organization_id, entry.organization_sequence);
    let source = serde_json::Value::from(format!("/organizations/{organization}"));
    let subject = serde_json::Value::from(format!("{}/{}", entry.aggregate_type, entry.aggregate_id));
    let kind = serde_json::Value::from(entry.event_type);
    body.extend(
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{sequence}\",\"source\":{source},\"type\":{kind},\
             \"subject\":{subject},\"datacontenttype\":\"application/json\",\"time\":\""
        )
        .bytes(),
    );
    write_timestamp(entry.recorded_at, body);
    body.extend_from_slice(b"\",\"data\":");
    entry.write_envelope(body);
    body.push(b'}');
}
