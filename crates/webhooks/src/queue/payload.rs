//! The body of a delivery.

use std::fmt::Write as _;

use identity_domain::moment::timestamp;
use identity_log::Recorded;
use identity_projections::identities::IdentityBody;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::audience::Told;

/// How many bytes of the digest are in the id of an event.
const ID_BYTES: usize = 16;

/// What tells an event from all others, also from one that takes its place after a part of the history was lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) organization_id: &'a str,
    pub(crate) aggregate_id: &'a str,
    pub(crate) sequence: i64,
    pub(crate) recorded_at: OffsetDateTime,
}

impl<'a> Named<'a> {
    pub(crate) fn of(event: &'a Recorded) -> Self {
        let Recorded { organization_id, aggregate_id, sequence, recorded_at, .. } = event;
        Self { organization_id, aggregate_id, sequence: *sequence, recorded_at: *recorded_at }
    }
}

/// The id of an event, the same in every delivery and to every endpoint. It tells nothing of the place in the log.
pub(crate) fn event_id(event: &Named<'_>) -> String {
    let Named { organization_id, aggregate_id, sequence, recorded_at } = event;
    let name = format!("{organization_id}\n{aggregate_id}\n{sequence}\n{}", timestamp(*recorded_at));
    let digest = Sha256::digest(name);
    digest.iter().take(ID_BYTES).fold("evt_".to_owned(), |mut text, byte| {
        // Writing to a string does not fail.
        let _: std::fmt::Result = write!(text, "{byte:02x}");
        text
    })
}

/// The largest document of an identity that is sent along, in bytes. A payload is stored for each receiver and each attempt.
const MAX_DOCUMENT: usize = 64 * 1024;

#[derive(Serialize)]
struct Payload<'a> {
    id: &'a str,
    event_type: &'a str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    event: Happened<'a>,
    identity: Option<&'a RawValue>,
    /// Whether the identity is left out although the receiver may see it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    identity_omitted: bool,
    contacts: [(); 0],
    agent_identities: Vec<Subject>,
}

/// What the receiver may know of the event. Its payload and its metadata are history, which agents do not read: they can name
/// viewers and keys.
#[derive(Serialize)]
struct Happened<'a> {
    aggregate_type: &'a str,
    aggregate_id: &'a str,
    sequence: i64,
    event_type: &'a str,
    recorded_at: String,
    identity_id: String,
}

/// An identity, as payloads of the hosted service name it.
#[derive(Serialize)]
struct Subject {
    bucket: &'static str,
    address: String,
    id: String,
    agent_handle: String,
    display_name: Option<String>,
}

/// What of a document names the identity.
#[derive(Deserialize)]
struct Document {
    id: String,
    agent_handle: String,
    display_name: Option<String>,
    email_address: String,
}

/// The body. `shown` is the identity as the receiver may see it, or nothing if it may not.
pub(crate) fn text(id: &str, told: &Told<'_>, shown: Option<&IdentityBody>) -> serde_json::Result<String> {
    let Told { event, event_type, subject, .. } = told;
    let recorded_at = timestamp(event.recorded_at);
    let body = shown.map(IdentityBody::body);
    let is_omitted = body.as_ref().is_some_and(|body| body.len() > MAX_DOCUMENT);
    let body = body.filter(|_| !is_omitted).map(RawValue::from_string).transpose()?;
    let happened = Happened {
        aggregate_type: event.event.kind().as_str(),
        aggregate_id: &event.aggregate_id,
        sequence: event.sequence,
        event_type: event.event.name(),
        recorded_at: recorded_at.clone(),
        identity_id: subject.to_string(),
    };
    let agent_identities = shown.map(named).transpose()?.into_iter().collect();
    let data = Data {
        event: happened,
        identity: body.as_deref(),
        identity_omitted: is_omitted,
        contacts: [],
        agent_identities,
    };
    serde_json::to_string(&Payload { id, event_type, timestamp: recorded_at, data })
}

fn named(shown: &IdentityBody) -> serde_json::Result<Subject> {
    let Document { id, agent_handle, display_name, email_address } = serde_json::from_str(&shown.document)?;
    Ok(Subject { bucket: "subject", address: email_address, id, agent_handle, display_name })
}
