//! Identities as of a past moment, with the same bytes that an admin was answered then. For admins and auditors.
//!
//! A moment includes all events up to it and at it. No two commands have the same moment, so it names one place in
//! history. `sequence:N`, for one identity, means the state right after its own event N.

use axum::http::StatusCode;
use axum::response::Response;
use identity_domain::Handle;
use identity_log::{history, past as log};
use identity_projections::identities::IdentityBody;
use identity_projections::past::{self, Lived};
use serde_json::json;
use sqlx::PgPool;
use time::OffsetDateTime;

use super::interruption::Interruption;
use super::json_text;
use super::pieces::{self, PIECE_BYTES, Pieces};
use crate::caller::{Caller, Historian, KeyCheck};
use crate::error::ApiError;
use crate::fault::Complaint;
use crate::form::reader::Reader;
use crate::parameters::{DescribeQuery, Parameters, moment, read_moment};

/// The parameter `as_of` of one identity.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AsOf {
    Moment(OffsetDateTime),
    Sequence(i64),
}

impl DescribeQuery for AsOf {
    fn describe(parameters: &mut Parameters) {
        Self::read(parameters);
    }
}

impl AsOf {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let about = "As it was at this moment, or right after its own event of this sequence; for admins and auditors";
        parameters.one("as_of", about, as_of())
    }
}

/// Reads the parameter `as_of` of a list.
pub(crate) fn moment_of_list(parameters: &mut Parameters) -> Option<OffsetDateTime> {
    let about = "As it was at this moment; for admins and auditors, and with no other parameter";
    parameters.one("as_of", about, moment())
}

/// The parameters of a request that has `as_of`.
#[derive(Debug)]
pub(crate) struct Asked(Parameters);

/// The parameters of a request, if it has `as_of`. The parameters in `besides` cannot be combined with `as_of`, so they
/// become faults. Unknown ones are ignored, as they are without `as_of`.
pub(crate) fn asked(mut parameters: Parameters, besides: &[&str]) -> Option<Asked> {
    parameters.keep(&[&["as_of"], besides].concat());
    parameters.has("as_of").then_some(Asked(parameters))
}

/// Answers with one identity as it was.
pub(crate) async fn get(
    Historian(caller): Historian,
    Asked(mut parameters): Asked,
    handle: &str,
) -> Result<Response, ApiError> {
    let as_of = AsOf::read(&mut parameters);
    parameters.finish()?;
    let handle = Handle::parse(handle).map_err(|_| ApiError::identity_not_found())?;
    let (pool, organization_id) = (caller.pool_for_large().await, caller.organization_id());
    let found: Option<IdentityBody> = match as_of {
        Some(AsOf::Moment(moment)) => {
            let upto = position(&caller, moment).await?;
            past::find(pool, organization_id, handle.as_str(), upto).await?
        }
        Some(AsOf::Sequence(sequence)) => {
            past::find_version(pool, organization_id, handle.as_str(), sequence).await?
        }
        None => None,
    };
    Ok(json_text(StatusCode::OK, found.ok_or_else(ApiError::identity_not_found)?.body()))
}

/// Answers with every identity as it was.
pub(crate) async fn list(
    Historian(caller): Historian,
    Asked(mut parameters): Asked,
) -> Result<Response, ApiError> {
    let as_of = moment_of_list(&mut parameters);
    parameters.finish()?;
    let upto = position(&caller, as_of.ok_or_else(ApiError::before_history)?).await?;
    let pool = caller.pool_for_large().await.clone();
    let lived = Lived::find(&pool, caller.organization_id(), upto).await?;
    let key = caller.key_check();
    pieces::whole(List { key, pool, lived, place: 0, count: usize::MAX }, &caller).await
}

/// A list of the past that is being written.
struct List {
    key: KeyCheck,
    pool: PgPool,
    lived: Lived,
    place: usize,
    /// How many identities fill a piece, estimated from the last piece.
    count: usize,
}

impl Pieces for List {
    async fn piece(&mut self, limit: u32, body: &mut String) -> Result<bool, Interruption> {
        let count = self.count.min(limit as usize).max(1);
        let found = self.lived.piece(&self.pool, self.place, count).await?;
        Interruption::unless_valid(&self.key).await?;
        body.push_str(if self.place == 0 { "[" } else { "" });
        for identity in &found {
            body.push_str(if self.place == 0 { "" } else { "," });
            identity.write_body(body);
            self.place += 1;
        }
        self.count = PIECE_BYTES / (body.len() / count).max(1);
        let is_last = found.len() < count;
        body.push_str(if is_last { "]" } else { "" });
        Ok(is_last)
    }

    fn bytes(&self) -> usize {
        self.lived.bytes()
    }
}

fn as_of() -> impl Reader<str, AsOf> {
    let of_sequence = || json!({ "type": "string", "pattern": "^sequence:[1-9][0-9]{0,17}$" });
    (read_as_of, move || json!({ "anyOf": [{ "type": "string", "format": "date-time" }, of_sequence()] }))
}

fn read_as_of(text: &str) -> Result<AsOf, Complaint> {
    let Some(sequence) = text.strip_prefix("sequence:") else {
        return read_moment(text).map(AsOf::Moment);
    };
    let sequence = sequence.parse().ok().filter(|sequence| *sequence > 0);
    let complaint = || Complaint::new("value_error", "Sequences are whole numbers from 1");
    sequence.map(AsOf::Sequence).ok_or_else(complaint)
}

/// How far the organization's history reached at a moment. Refuses a moment that has not passed yet, and one before the
/// first event of the organization.
async fn position(caller: &Caller, moment: OffsetDateTime) -> Result<i64, ApiError> {
    if !log::is_settled(caller.pool().await, moment).await? {
        return Err(ApiError::moment_to_come());
    }
    match history::sequence_at(caller.pool().await, caller.organization_id(), moment).await? {
        0 => Err(ApiError::before_history()),
        sequence => Ok(sequence),
    }
}
