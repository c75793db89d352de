//! From the database to a file that proves itself.
//!
//! An export ends where the last checkpoint ends, since nothing can be proved of what comes after. Events are written
//! as they stand, each with the leaf hash that was signed for it, so that a verifier can name the one that was changed.

use std::io::Write;

use anyhow::{Context as _, ensure};
use futures::TryStreamExt as _;
use identity_log::proof::{self, Signed, tiles};
use identity_log::recorded::timestamp;
use identity_proof::tile::WIDTH;
use identity_proof::tree::Question;
use identity_proof::{Frontier, Hash};
use sqlx::postgres::PgRow;
use sqlx::{Acquire as _, PgConnection, PgPool, Row as _};

use super::line::{self, Envelope, Trailer, TrailerLine};

/// Which events.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// Only those after this organization sequence.
    pub after: u64,
    /// Only those up to this one.
    pub until: Option<u64>,
}

/// Writes the events of an organization and the trailer, and gives the trailer. `progress` hears how many are written,
/// and how many there will be.
pub async fn run(
    pool: &PgPool,
    organization_id: &str,
    range: &Range,
    output: &mut impl Write,
    mut progress: impl FnMut(u64, u64),
) -> anyhow::Result<Trailer> {
    let mut connections = (pool.acquire().await?, pool.acquire().await?);
    let signed = proof::last(&mut *connections.0, organization_id).await?;
    let signed = signed.context("nothing of this history is signed yet: let the service run for a moment")?;
    let until = range.until.unwrap_or(u64::MAX).min(signed.checkpoint.size);
    ensure!(
        range.after < until,
        "there are no signed events in this range: {} are signed",
        signed.checkpoint.size
    );
    let mut leaves = SignedLeaves { organization_id, epoch: signed.epoch, place: None, hashes: vec![] };
    let mut trailer = Trailer { checkpoint: Some(signed.note.clone()), ..Trailer::default() };
    let events = connections.0.acquire().await?;
    let mut rows = sqlx::query(EVENTS)
        .bind(organization_id)
        .bind(i64::try_from(range.after)?)
        .bind(i64::try_from(until)?)
        .fetch(events);
    while let Some(row) = rows.try_next().await? {
        let envelope = envelope(organization_id, &row)?;
        let sequence = u64::try_from(envelope.organization_sequence)?;
        let leaf = leaves.find(&mut connections.1, sequence).await?;
        output.write_all(&line::write(&envelope, leaf.as_ref())?)?;
        trailer.first.get_or_insert(sequence);
        trailer.last = Some(sequence);
        trailer.count += 1;
        progress(trailer.count, until - range.after);
    }
    let asked = range.until.is_some().then_some(until);
    add_proofs(&mut connections.1, organization_id, &signed, range.after, asked, &mut trailer).await?;
    serde_json::to_writer(&mut *output, &TrailerLine { trailer: trailer.clone() })?;
    output.write_all(b"\n")?;
    output.flush()?;
    Ok(trailer)
}

const EVENTS: &str = "select organization_sequence, aggregate_type, aggregate_id, sequence, event_type,
                             event_version, recorded_at, payload, metadata
                      from events
                      where organization_id = $1 and organization_sequence > $2 and organization_sequence <= $3
                      order by organization_sequence";

fn envelope(organization_id: &str, row: &PgRow) -> Result<Envelope, sqlx::Error> {
    Ok(Envelope {
        organization_id: organization_id.to_owned(),
        organization_sequence: row.try_get("organization_sequence")?,
        aggregate_type: row.try_get("aggregate_type")?,
        aggregate_id: row.try_get("aggregate_id")?,
        sequence: row.try_get("sequence")?,
        event_type: row.try_get("event_type")?,
        event_version: row.try_get("event_version")?,
        recorded_at: timestamp(row.try_get("recorded_at")?),
        payload: row.try_get("payload")?,
        metadata: row.try_get("metadata")?,
    })
}

/// What ties a part of a history to the checkpoint of the whole.
async fn add_proofs(
    connection: &mut PgConnection,
    organization_id: &str,
    signed: &Signed,
    after: u64,
    until: Option<u64>,
    trailer: &mut Trailer,
) -> anyhow::Result<()> {
    let mut before = vec![];
    for node in Frontier::nodes(after)? {
        // A complete subtree is the root of a tree of its own size only at the very left.
        before.push(proof::node(connection, organization_id, signed.epoch, node).await?);
    }
    trailer.before = before.iter().map(Hash::to_string).collect();
    // Without an end that was asked for, events that are missing at the end are a fault and nothing to be proved.
    if let Some(from) = until.filter(|until| *until < signed.checkpoint.size) {
        let question = Question::Consistency { from, to: signed.checkpoint.size };
        let hashes = proof::answer(connection, organization_id, signed.epoch, question).await?;
        trailer.consistency = hashes.iter().map(Hash::to_string).collect();
    }
    Ok(())
}

/// Leaf hashes as they were signed, a tile at a time.
struct SignedLeaves<'a> {
    organization_id: &'a str,
    epoch: u64,
    place: Option<u64>,
    hashes: Vec<Hash>,
}

impl SignedLeaves<'_> {
    async fn find(&mut self, connection: &mut PgConnection, sequence: u64) -> anyhow::Result<Option<Hash>> {
        let index = sequence.saturating_sub(1);
        let place = index / WIDTH;
        if self.place != Some(place) {
            self.hashes = tiles::leaves(connection, self.organization_id, self.epoch, place).await?;
            self.place = Some(place);
        }
        Ok(self.hashes.get(usize::try_from(index % WIDTH)?).copied())
    }
}
