//! History: the organization's events in the order in which they happened. One range, four representations, chosen by
//! `Accept`; a request that names none of them gets a page of JSON.
//!
//! A handle stands for every identity that ever had it, with the whole history of each. `aggregate_id` selects one
//! identity. A handle that no identity ever had is answered 404: an empty history would look like a complete one.

mod batch;
mod live;
mod page;
mod range;
mod representation;
mod whole;

use axum::response::Response;
use identity_domain::Handle;
use identity_projections::bodies::{CloudEvent, EventPage};

use self::range::{EventQuery, EventRange, EventRequest, IdentityEventQuery};
use self::representation::Representation;
use crate::accept;
use crate::caller::{Caller, Historian, Segments};
use crate::code::Code;
use crate::error::ApiError;
use crate::headers::LastEventId;
use crate::parameters::Query;

/// Read history
///
/// Oldest first. `Accept` chooses the form: a page as JSON or as `CloudEvents`, the whole history as NDJSON with a
/// trailer, or a live stream of server-sent events.
#[utoipa::path(get, path = "/api/v1/events", tag = "History",
    responses((status = 200, description = "A page, or the whole history", content(
        (EventPage = "application/json"),
        (Vec<CloudEvent> = "application/cloudevents-batch+json"),
        (String = "application/x-ndjson"),
        (String = "text/event-stream"),
    ))),
    extensions(("x-errors" = json!([Code::IdentityNotFound, Code::HistoryChanged]))))]
pub(crate) async fn list_events(
    Historian(caller): Historian,
    LastEventId(headers): LastEventId,
    query: Query<EventQuery>,
) -> Result<Response, ApiError> {
    let representation = Representation::negotiate(&headers);
    let wanted = EventRequest::of(query.parameters(), &headers, caller.organization_id(), representation)?;
    answer(representation, wanted, caller).await
}

/// Read the history of an identity
///
/// The history of every identity that ever had the handle.
#[utoipa::path(get, path = "/api/v1/identities/{agent_handle}/events", tag = "History",
    responses((status = 200, description = "A page, or the whole history", content(
        (EventPage = "application/json"),
        (Vec<CloudEvent> = "application/cloudevents-batch+json"),
        (String = "application/x-ndjson"),
        (String = "text/event-stream"),
    ))),
    extensions(("x-errors" = json!([Code::IdentityNotFound, Code::HistoryChanged]))))]
pub(crate) async fn list_identity_events(
    Historian(caller): Historian,
    Segments(handle): Segments<String>,
    LastEventId(headers): LastEventId,
    query: Query<IdentityEventQuery>,
) -> Result<Response, ApiError> {
    let representation = Representation::negotiate(&headers);
    let mut wanted =
        EventRequest::of(query.parameters(), &headers, caller.organization_id(), representation)?;
    wanted.of_handle(Handle::parse(&handle).map_err(|_| ApiError::identity_not_found())?);
    answer(representation, wanted, caller).await
}

async fn answer(
    representation: Representation,
    wanted: EventRequest,
    caller: Caller,
) -> Result<Response, ApiError> {
    let range = EventRange::resolve(wanted, caller.pool().await, caller.organization_id());
    let response = match representation {
        Representation::Page => page::json(range.await?, caller.pool_for_large().await).await?,
        Representation::CloudEvents => {
            page::cloud_events(range.await?, caller.pool_for_large().await).await?
        }
        // A stream takes its share before the first query, so a client with too many streams costs no query.
        Representation::Lines => {
            let share = caller.stream(0).await?;
            whole::lines(range.await?, caller, share)
        }
        Representation::Live => {
            let share = caller.stream(0).await?;
            match range.await {
                // A client of a live stream reconnects by itself after an error status, so it is told in an event.
                Err(error) if error.code() == Code::HistoryChanged => live::history_changed(),
                range => live::follow(range?, caller, share),
            }
        }
    };
    Ok(accept::negotiated(response))
}
