//! From the database to a file that proves itself.
//!
//! An export ends where the last checkpoint ends, since nothing can be proved of what comes after. Events are written
//! as they stand, each with the leaf hash that was signed for it, so that a verifier can name the one that was changed.

use anyhow::{Context as _, ensure};
use identity_log::history::{History, Query};
use identity_log::proof::{self, Signed, tiles};
use identity_proof::tile::WIDTH;
use identity_proof::tree::Question;
use identity_proof::{Frontier, Hash};
use sqlx::{PgConnection, PgPool};

use super::form::Form;
use super::line::{Envelope, Trailer};

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
    output: &mut impl Form,
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
    let query = Query::range(organization_id, i64::try_from(range.after)?, i64::try_from(until)?);
    let mut history = History::begin(&mut connections.0, &query);
    while let Some(entry) = history.next().await? {
        let envelope = Envelope::of(&entry)?;
        let sequence = u64::try_from(envelope.organization_sequence)?;
        let leaf = leaves.find(&mut connections.1, sequence).await?;
        output.event(&envelope, leaf.as_ref())?;
        trailer.first.get_or_insert(sequence);
        trailer.last = Some(sequence);
        trailer.count += 1;
        progress(trailer.count, until - range.after);
    }
    let asked = range.until.is_some().then_some(until);
    add_proofs(&mut connections.1, organization_id, &signed, range.after, asked, &mut trailer).await?;
    output.trailer(&trailer)?;
    Ok(trailer)
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
