//! Reading a range in batches, so that memory is bounded by the batch and a slow client keeps no connection to the
//! database.

use std::time::Duration;

use axum::body::Bytes;
use identity_log::history::{Entry, History, Query};
use identity_log::proof::{self, TreeError};
use identity_proof::Hash;
use sqlx::{PgConnection, PgPool};

use crate::caller::Caller;
use crate::cursor::HistoryPlace;
use crate::followers::Piece;
use crate::routes::interruption::Interruption;

/// The most events of a batch.
const MAX_BATCH_EVENTS: u32 = 2048;

/// The size in bytes after which a batch takes no further event.
const BATCH_BYTES: usize = 512 * 1024;

/// How many leaf hashes are looked up at a time. With a filter each may be in another tile, so as many tiles may be
/// read.
const LEAVES_AT_A_TIME: usize = 256;

/// How many bytes of a line follow its leaf hash.
const BYTES_AFTER_LEAF: usize = b"\"}\n".len();

/// The length of a hash in base64.
const LEAF_LENGTH: usize = 44;

/// A range of events that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) caller: Caller,
    pub(super) query: Query,
    /// A place in the history that is read. If it is missing, the history is another one by now.
    pub(super) place: HistoryPlace,
}

/// Some events as text, one after another.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) text: Vec<u8>,
    pub(super) count: u32,
    pub(super) first: i64,
    pub(super) last: i64,
    /// The events whose line has a leaf hash: the sequence of each, and where its line ends in `text`.
    sealed: Vec<(i64, usize)>,
}

impl Reading {
    /// The next batch; `None` at the end of the range. The key is checked after the events were read, so nothing that
    /// happened after its revocation is shown.
    pub(super) async fn next(
        &mut self,
        write: fn(&Entry<'_>, &mut Vec<u8>),
    ) -> Result<Option<Batch>, Interruption> {
        let batch = read(self.caller.pool_of_pieces(), &mut self.query, &mut self.place, write).await?;
        if batch.is_some() {
            self.check_key().await?;
        }
        Ok(batch)
    }

    /// Breaks the stream off if its key was revoked or has expired. Returns how long it is still valid.
    pub(super) async fn check_key(&self) -> Result<Duration, Interruption> {
        Interruption::unless_valid(&self.caller.key_check()).await
    }

    /// The next batch, read once for all clients that follow the same events; empty if there is none.
    pub(super) async fn next_shared(
        &mut self,
        write: fn(&Entry<'_>, &mut Vec<u8>),
    ) -> Result<Bytes, Interruption> {
        let (mut query, mut place) = (self.query.clone(), self.place);
        let pool = self.caller.pool_of_pieces();
        let reading = async {
            let batch = read(pool, &mut query, &mut place, write).await?;
            let text = batch.map(|batch| batch.text.into()).unwrap_or_default();
            Ok::<_, Interruption>(Piece { text, after: query.after, place })
        };
        let piece = self.caller.followers().read(self.place, &self.query, reading).await?;
        (self.query.after, self.place) = (piece.after, piece.place);
        self.check_key().await?;
        Ok(piece.text.clone())
    }
}

/// The next batch. It is of the history that has the place: the place is not before the end of the range, and it is still there
/// after the batch was read.
async fn read(
    pool: &PgPool,
    query: &mut Query,
    place: &mut HistoryPlace,
    write: fn(&Entry<'_>, &mut Vec<u8>),
) -> Result<Option<Batch>, Interruption> {
    if query.after >= query.upto {
        return Ok(None);
    }
    query.limit = Some(MAX_BATCH_EVENTS);
    let mut connection = pool.acquire().await?;
    if place.sequence < query.upto {
        let advanced = place.advanced(&mut connection, &query.organization_id, query.upto).await?;
        *place = advanced.ok_or(Interruption::HistoryChanged)?;
    }
    let mut history = History::begin(&mut connection, query);
    let mut batch = Batch::default();
    let mut exhausted = true;
    while let Some(entry) = history.next().await? {
        write(&entry, &mut batch.text);
        if batch.count == 0 {
            batch.first = entry.organization_sequence;
        }
        batch.count += 1;
        batch.last = entry.organization_sequence;
        if entry.leaf_hash.is_some() {
            batch.sealed.push((entry.organization_sequence, batch.text.len()));
        }
        if batch.count == MAX_BATCH_EVENTS || batch.text.len() >= BATCH_BYTES {
            exhausted = false;
            break;
        }
    }
    drop(history);
    if !place.is_in(&mut *connection, &query.organization_id).await? {
        return Err(Interruption::HistoryChanged);
    }
    query.after = if exhausted { query.upto } else { batch.last };
    batch.seal(&mut connection, &query.organization_id).await?;
    Ok((batch.count > 0).then_some(batch))
}

impl Batch {
    /// Replaces the leaf hash of each event by the signed one. The hash that is stored beside an event proves nothing:
    /// somebody who can change the event can change it, too. An event whose signed one is not known keeps the stored one.
    async fn seal(&mut self, connection: &mut PgConnection, organization_id: &str) -> Result<(), TreeError> {
        let sealed = std::mem::take(&mut self.sealed);
        if sealed.is_empty() {
            return Ok(());
        }
        let signed = match proof::last(&mut *connection, organization_id).await {
            Ok(Some(signed)) => signed,
            Ok(None) | Err(TreeError::Note(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        for some in sealed.chunks(LEAVES_AT_A_TIME) {
            let indexes: Vec<u64> = some.iter().map(|(sequence, _)| index(*sequence)).collect();
            let leaves = proof::leaves(connection, organization_id, &signed, &indexes).await?;
            for (sequence, end) in some {
                if let Some(leaf) = leaves.get(&index(*sequence)) {
                    self.write_leaf(*end, leaf);
                }
            }
        }
        Ok(())
    }

    fn write_leaf(&mut self, line_end: usize, leaf: &Hash) {
        let end = line_end.saturating_sub(BYTES_AFTER_LEAF);
        if let Some(place) = self.text.get_mut(end.saturating_sub(LEAF_LENGTH)..end) {
            place.copy_from_slice(leaf.to_string().as_bytes());
        }
    }
}

/// Events are numbered from 1, leaves from 0.
fn index(sequence: i64) -> u64 {
    u64::try_from(sequence).unwrap_or_default().saturating_sub(1)
}
