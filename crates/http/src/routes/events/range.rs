//! Which events are wanted: the parameters of a request, and the range of sequences they come to.

use axum::http::HeaderMap;
use identity_domain::Handle;
use identity_log::history::{self, Query};
use identity_log::past;
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};

use super::Representation;
use crate::cursor;
use crate::error::ApiError;
use crate::form::Complaint;
use crate::parameters::{Parameters, limit, moment};

/// How many events a page has, unless the client says.
const USUAL_LIMIT: u32 = 100;

/// How many aggregates or event types can be asked for at once.
const MOST_VALUES: usize = 100;

/// What a client asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    after: i64,
    limit: u32,
    handle: Option<Handle>,
    aggregate_ids: Option<Vec<String>>,
    event_types: Option<Vec<String>>,
    since: Option<OffsetDateTime>,
    until: Option<OffsetDateTime>,
    leaf_hashes: bool,
}

impl Wanted {
    /// Reads the parameters. Streams take the whole range, and a live one has no end.
    pub(super) fn read(
        query: Option<&str>,
        headers: &HeaderMap,
        organization_id: &str,
        representation: Representation,
    ) -> Result<Self, ApiError> {
        let mut parameters = Parameters::parse(query);
        let paged = matches!(representation, Representation::Page | Representation::CloudEvents);
        let limit = paged.then(|| parameters.one("limit", limit)).flatten();
        let whole = representation == Representation::Lines;
        let leaf_hashes = whole.then(|| parameters.one("leaf_hashes", yes_or_no)).flatten();
        let live = representation == Representation::Live;
        let until = (!live).then(|| parameters.one("until", moment)).flatten();
        let after = parameters.one("after", |text| place(organization_id, text));
        let seen =
            headers.get("last-event-id").filter(|_| live).map(|value| value.to_str().unwrap_or_default());
        let seen = seen.and_then(|text| {
            let place = place(organization_id, text);
            place.map_err(|complaint| parameters.fault("Last-Event-ID", complaint, text)).ok()
        });
        let wanted = Self {
            after: seen.or(after).unwrap_or_default(),
            limit: limit.unwrap_or(USUAL_LIMIT),
            handle: parameters.one("agent_handle", handle),
            aggregate_ids: some_of(&mut parameters, "aggregate_id"),
            event_types: some_of(&mut parameters, "event_type"),
            since: parameters.one("since", moment),
            until,
            leaf_hashes: leaf_hashes.unwrap_or_default(),
        };
        parameters.finish()?;
        Ok(wanted)
    }

    /// Of these aggregates only.
    pub(super) fn only(&mut self, aggregate_ids: Vec<String>) {
        self.aggregate_ids = Some(match self.aggregate_ids.take() {
            Some(asked) => asked.into_iter().filter(|id| aggregate_ids.contains(id)).collect(),
            None => aggregate_ids,
        });
    }
}

fn yes_or_no(text: &str) -> Result<bool, Complaint> {
    text.parse().map_err(|_| Complaint::new("bool_parsing", "Input should be true or false"))
}

fn place(organization_id: &str, text: &str) -> Result<i64, Complaint> {
    cursor::decode(organization_id, text).ok_or_else(|| {
        Complaint::new("value_error", "Input should be a cursor of this organization's history")
    })
}

fn handle(text: &str) -> Result<Handle, Complaint> {
    Handle::parse(text).map_err(|error| Complaint::new("value_error", error.to_string()))
}

/// The values of a parameter that may be repeated; all there are if it is absent.
fn some_of(parameters: &mut Parameters, name: &str) -> Option<Vec<String>> {
    let values = parameters.all(name);
    if values.len() > MOST_VALUES {
        parameters.fault(name, Complaint::new("too_long", "Parameter should be given at most 100 times"), "");
    }
    (!values.is_empty()).then_some(values)
}

/// The events that a client gets, as far as there are any yet.
#[derive(Debug, Clone)]
pub(super) struct Range {
    /// What is read; its limit is set by whoever reads.
    pub(super) query: Query,
    /// How many events a page has.
    pub(super) limit: u32,
    /// Whether the client said where the range ends.
    pub(super) is_bounded: bool,
}

impl Range {
    /// Looks up what the wishes come to now.
    pub(super) async fn resolve(
        mut wanted: Wanted,
        pool: &PgPool,
        organization_id: &str,
    ) -> Result<Self, ApiError> {
        if let Some(handle) = wanted.handle.take() {
            let holders = past::holders(pool, organization_id, handle.as_str()).await?;
            if holders.is_empty() {
                return Err(ApiError::identity_not_found());
            }
            wanted.only(holders);
        }
        let mut query =
            Query::range(organization_id, wanted.after, history::head(pool, organization_id).await?);
        if query.after > query.upto {
            return Err(ApiError::cursor_beyond_history());
        }
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
        Ok(Self { query, limit: wanted.limit, is_bounded: wanted.until.is_some() })
    }
}
