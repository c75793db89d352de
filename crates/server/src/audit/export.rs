//! Writes the history of an organization to a file that can be verified without the service.
//!
//! An export ends with the last event of the last checkpoint, since later events cannot be proved. The trailer has the number
//! of later events. If the signer refuses the log, the export ends with the last event of the log instead. Events are written
//! as they stand, each with the leaf hash that was signed for it, so that a verifier can name the one that was changed.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use identity_audit::envelope::Envelope;
use identity_audit::json::CanonicalJson;
use identity_log::history::{Entry, History, Query};
use identity_log::proof::{self, Refusal, Signed};
use identity_log::recorded::timestamp;
use identity_proof::Hash;
use identity_proof::tile::WIDTH;
use identity_proof::trailer::Trailer;
use sqlx::{PgConnection, PgPool};

use super::form::ExportWriter;

/// A range of events.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// Only events after this organization sequence.
    pub after: u64,
    /// Only events up to this organization sequence.
    pub until: Option<u64>,
}

/// Writes the events of an organization and the trailer, and returns the trailer. `progress` gets how many events are
/// written, and how many there will be.
pub async fn run(
    pool: &PgPool,
    organization_id: &str,
    range: &Range,
    refusal: Option<&Refusal>,
    output: &mut impl ExportWriter,
    mut progress: impl FnMut(u64, u64),
) -> anyhow::Result<Trailer> {
    let mut connections = (pool.acquire().await?, pool.acquire().await?);
    let signed = proof::last(&mut *connections.0, organization_id).await?;
    let signed = signed.context("nothing of this history is signed yet: let the service run for a moment")?;
    let (size, head) = (signed.checkpoint.size, head(&mut connections.0, organization_id).await?);
    let end = if refusal.is_some() { head.max(size) } else { size };
    let until = range.until.unwrap_or(u64::MAX).min(end);
    ensure!(range.after < until, "there are no signed events in this range: {size} are signed");
    let mut leaves =
        SignedLeaves { organization_id, signed: &signed, place: None, hashes: HashMap::default() };
    if range.until.is_some() {
        check_whole(&mut connections.0, organization_id, size).await?;
    }
    let unsigned = head.saturating_sub(end);
    let mut trailer = Trailer {
        refused: refusal.map(ToString::to_string),
        unsigned: Some(unsigned).filter(|unsigned| *unsigned > 0 && range.until.is_none()),
        ..Trailer::of_range(range.after, range.until.map(|_| until))
    };
    let query = Query::range(organization_id, i64::try_from(range.after)?, i64::try_from(until)?);
    let mut history = History::begin(&mut connections.0, &query);
    while let Some(entry) = history.next().await? {
        let context = || format!("event {} cannot be exported", entry.organization_sequence);
        let envelope = envelope(&entry).with_context(context)?;
        let sequence = u64::try_from(envelope.organization_sequence)?;
        let leaf = leaves.find(&mut connections.1, sequence).await?;
        output.event(&envelope, leaf.as_ref()).with_context(context)?;
        trailer.add(1, sequence, sequence);
        progress(trailer.count, until - range.after);
    }
    // A part of a log that the signer refuses gets no checkpoint: events may be missing right after the part.
    if refusal.is_none() || range.until.is_none() {
        proof::tie(&mut trailer, &mut connections.1, organization_id, &signed).await?;
    }
    output.trailer(&trailer)?;
    Ok(trailer)
}

/// The envelope of an event as it is in the log now, even if it was tampered with.
pub(super) fn envelope(entry: &Entry<'_>) -> serde_json::Result<Envelope> {
    Ok(Envelope {
        organization_id: entry.organization_id.to_owned(),
        organization_sequence: entry.organization_sequence,
        aggregate_type: entry.aggregate_type.to_owned(),
        aggregate_id: entry.aggregate_id.to_owned(),
        sequence: entry.sequence,
        event_type: entry.event_type.to_owned(),
        event_version: entry.event_version.to_owned(),
        recorded_at: timestamp(entry.recorded_at),
        payload: CanonicalJson::parse(entry.payload)?,
        metadata: CanonicalJson::parse(entry.metadata)?,
    })
}

/// How many events the log of an organization has.
async fn head(connection: &mut PgConnection, organization_id: &str) -> anyhow::Result<u64> {
    let head: Option<i64> =
        sqlx::query_scalar("select sequence from organization_heads where organization_id = $1")
            .bind(organization_id)
            .fetch_optional(connection)
            .await?;
    Ok(u64::try_from(head.unwrap_or_default())?)
}

/// Checks that no signed event is missing at the end of the log. The verifier of a part could not notice that, since
/// the missing event may be after the part.
async fn check_whole(
    connection: &mut PgConnection,
    organization_id: &str,
    signed: u64,
) -> anyhow::Result<()> {
    let last: Option<i64> =
        sqlx::query_scalar("select max(organization_sequence) from events where organization_id = $1")
            .bind(organization_id)
            .fetch_one(connection)
            .await?;
    let last = u64::try_from(last.unwrap_or_default())?;
    ensure!(
        last >= signed,
        "event {} was signed and is missing: only the whole log can be exported, and no part of it",
        last + 1
    );
    Ok(())
}

/// The signed leaf hashes by their index, read a tile at a time.
struct SignedLeaves<'a> {
    organization_id: &'a str,
    signed: &'a Signed,
    place: Option<u64>,
    hashes: HashMap<u64, Hash>,
}

impl SignedLeaves<'_> {
    async fn find(&mut self, connection: &mut PgConnection, sequence: u64) -> anyhow::Result<Option<Hash>> {
        let index = sequence.saturating_sub(1);
        let place = index / WIDTH;
        if self.place != Some(place) {
            let indexes: Vec<u64> = (place * WIDTH..(place + 1) * WIDTH).collect();
            self.hashes = proof::leaves(connection, self.organization_id, self.signed, &indexes).await?;
            self.place = Some(place);
        }
        Ok(self.hashes.get(&index).copied())
    }
}
