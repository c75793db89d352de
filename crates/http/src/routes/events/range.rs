//! The parameters of a request for history, and the range of events that they select.

use axum::http::HeaderMap;
use identity_domain::Handle;
use identity_log::history::{self, Query};
use identity_log::past;
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};

use super::representation::Representation;
use crate::cursor::{self as cursors, HistoryPlace};
use crate::error::ApiError;
use crate::fault::Complaint;
use crate::form::reader::handle_schema;
use crate::parameters::{DescribeQuery, Parameters, cursor, flag, limit, moment};

/// How many events a page has by default.
const DEFAULT_LIMIT: u32 = 100;

/// The parameters of a request, parsed.
#[derive(Debug)]
pub(super) struct EventRequest {
    after: HistoryPlace,
    limit: u32,
    handles: Vec<Handle>,
    aggregate_ids: Option<Vec<String>>,
    event_types: Option<Vec<String>>,
    since: Option<OffsetDateTime>,
    until: Option<OffsetDateTime>,
    leaf_hashes: bool,
}

/// The parameters of an organization's history.
#[derive(Debug)]
pub(crate) struct EventQuery;

impl DescribeQuery for EventQuery {
    fn describe(parameters: &mut Parameters) {
        EventRequest::read(parameters, "", None);
    }
}

/// The parameters of an identity's history: the same without the handle, which is in the path.
#[derive(Debug)]
pub(crate) struct IdentityEventQuery;

impl DescribeQuery for IdentityEventQuery {
    fn describe(parameters: &mut Parameters) {
        EventRequest::read(parameters, "", None);
        parameters.hide("agent_handle");
    }
}

impl EventRequest {
    /// Reads the parameters, and for a live stream `Last-Event-ID`, which a client sends when it reconnects.
    pub(super) fn of(
        mut parameters: Parameters,
        headers: &HeaderMap,
        organization_id: &str,
        representation: Representation,
    ) -> Result<Self, ApiError> {
        let mut request = Self::read(&mut parameters, organization_id, Some(representation));
        let is_live = representation == Representation::Live;
        if let Some(seen) = headers.get("last-event-id").filter(|_| is_live) {
            let text = seen.to_str().unwrap_or_default();
            match place(organization_id, text) {
                Ok(place) => request.after = place,
                Err(complaint) => parameters.fault("Last-Event-ID", complaint, text),
            }
        }
        parameters.finish()?;
        Ok(request)
    }

    /// Reads the parameters of this representation: only a page has a limit, only NDJSON has leaf hashes, and a live
    /// stream has no end. Without a representation all parameters are read, for the OpenAPI document.
    fn read(
        parameters: &mut Parameters,
        organization_id: &str,
        representation: Option<Representation>,
    ) -> Self {
        let is_any_of = |some: &[Representation]| representation.is_none_or(|this| some.contains(&this));
        let is_page = is_any_of(&[Representation::Page, Representation::CloudEvents]);
        let is_whole = is_any_of(&[Representation::Lines]);
        let is_live = representation == Some(Representation::Live);
        let after = "Only what comes after this cursor, as a page or a live stream had it";
        let leaf_hashes = "Whether each line has its leaf hash; for NDJSON";
        Self {
            limit: parameters
                .one_if(is_page, "limit", "At most so many in a page", limit())
                .unwrap_or(DEFAULT_LIMIT),
            leaf_hashes: parameters.one_if(is_whole, "leaf_hashes", leaf_hashes, flag()).unwrap_or_default(),
            until: parameters.one_if(
                !is_live,
                "until",
                "Only what happened at this moment or earlier",
                moment(),
            ),
            after: parameters
                .one("after", after, cursor(|text| place(organization_id, text)))
                .unwrap_or_default(),
            handles: parameters
                .one(
                    "agent_handle",
                    "Only of identities that ever had this handle",
                    (read_handle, handle_schema),
                )
                .into_iter()
                .collect(),
            aggregate_ids: parameters.some("aggregate_id", "Only of these, by id"),
            event_types: parameters.some("event_type", "Only events of these types"),
            since: parameters.one("since", "Only what happened at this moment or later", moment()),
        }
    }

    /// Restricts the events to those of identities that ever had this handle.
    pub(super) fn of_handle(&mut self, handle: Handle) {
        self.handles.push(handle);
    }

    /// Restricts the events to those of these aggregates.
    fn only(&mut self, aggregate_ids: Vec<String>) {
        self.aggregate_ids = Some(match self.aggregate_ids.take() {
            Some(asked) => asked.into_iter().filter(|id| aggregate_ids.contains(id)).collect(),
            None => aggregate_ids,
        });
    }
}

fn place(organization_id: &str, text: &str) -> Result<HistoryPlace, Complaint> {
    cursors::decode(organization_id, text).ok_or_else(|| {
        Complaint::new("value_error", "Input should be a cursor of this organization's history")
    })
}

fn read_handle(text: &str) -> Result<Handle, Complaint> {
    Handle::parse(text).map_err(|error| Complaint::new("value_error", error.to_string()))
}

/// The range of events that a request selects, up to the present end of the history.
#[derive(Debug, Clone)]
pub(super) struct EventRange {
    /// The query. Its limit is set when it is run.
    pub(super) query: Query,
    /// The end of the history when the range was resolved.
    pub(super) place: HistoryPlace,
    /// How many events a page has.
    pub(super) limit: u32,
    /// Whether the client said where the range ends.
    pub(super) is_bounded: bool,
}

impl EventRange {
    /// Looks up handles, cursor and moments, and turns them into aggregates and sequences.
    pub(super) async fn resolve(
        mut wanted: EventRequest,
        pool: &PgPool,
        organization_id: &str,
    ) -> Result<Self, ApiError> {
        for handle in std::mem::take(&mut wanted.handles) {
            let holders = past::holders(pool, organization_id, handle.as_str()).await?;
            if holders.is_empty() {
                return Err(ApiError::identity_not_found());
            }
            wanted.only(holders);
        }
        let head = history::head(pool, organization_id).await?;
        let place = if head == 0 && wanted.after == HistoryPlace::default() {
            HistoryPlace::default()
        } else {
            let place = wanted.after.advanced(pool, organization_id, head).await?;
            place.ok_or_else(ApiError::history_changed)?
        };
        let mut query = Query::range(organization_id, wanted.after.sequence, head);
        if let Some(since) = wanted.since {
            let before = history::sequence_at(pool, organization_id, since - Duration::NANOSECOND).await?;
            query.after = query.after.max(before);
        }
        if let Some(until) = wanted.until {
            query.upto = query.upto.min(history::sequence_at(pool, organization_id, until).await?);
        }
        query.aggregate_ids = wanted.aggregate_ids;
        query.event_types = wanted.event_types;
        query.leaf_hashes = wanted.leaf_hashes;
        Ok(Self { query, place, limit: wanted.limit, is_bounded: wanted.until.is_some() })
    }
}
