//! The whole range as NDJSON: one envelope a line, and a trailer as the last line. A body without its trailer was cut
//! off, by the network or by a failure of the service, which then breaks the connection.
//!
//! The trailer of a range without a filter has a checkpoint that covers the range, so the file can be verified. If the
//! request has no `until`, the range ends where the checkpoint ends, so events missing at the end are noticed.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream;
use identity_log::history::Entry;
use identity_log::proof::memory::MemoryError;
use identity_log::proof::{self, Refusal, SignError, Signed, TreeError};
use identity_proof::trailer::{Trailer, TrailerLine};

use super::batch::Reading;
use super::range::EventRange;
use crate::caller::Caller;
use crate::limits::{Held, StreamShare};
use crate::routes::interruption::Interruption;

/// An export that is being written.
#[derive(Debug)]
struct Export {
    reading: Reading,
    trailer: Trailer,
    /// The checkpoint for the trailer. It is made once all events of the range are written.
    tied_to: Option<Tied>,
    ended: bool,
    share: StreamShare,
    /// The room for the lines that are being sent, if they are large.
    held: Option<Held>,
}

/// The checkpoint of an export; and if the log is not signed any more, the reason.
#[derive(Debug)]
struct Tied {
    signed: Option<Signed>,
    refusal: Option<Refusal>,
}

/// Streams the range, up to the checkpoint that is signed at its end. Later events are not part of it.
pub(super) fn lines(range: EventRange, caller: Caller, share: StreamShare) -> Response {
    let EventRange { query, place, is_bounded, .. } = range;
    let primary = caller.primary().clone();
    let sequence = |sequence: i64| u64::try_from(sequence).unwrap_or_default();
    // A range may end before it begins; then it is empty.
    let until = is_bounded.then(|| sequence(query.upto.max(query.after)));
    let trailer = Trailer { filtered: !query.is_whole(), ..Trailer::of_range(sequence(query.after), until) };
    let reading = Reading { caller, query, place };
    let export = Export { reading, trailer, tied_to: None, ended: false, share, held: None };
    let chunks = stream::try_unfold(export, |mut export| async move {
        Ok::<_, Interruption>(export.next().await?.map(|chunk| (chunk, export)))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Interruption::body(chunks, &primary)).into_response()
}

impl Export {
    /// The next lines; at the end the trailer.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Interruption> {
        self.held = None;
        if self.ended {
            return Ok(None);
        }
        loop {
            let turn = self.share.turn().await;
            let batch = self.reading.next(write_line).await?;
            self.held = self.share.hold(batch.as_ref().map_or(0, |batch| batch.text.len())).await;
            drop(turn);
            if let Some(batch) = batch {
                let place = |sequence: i64| u64::try_from(sequence).unwrap_or_default();
                self.trailer.add(u64::from(batch.count), place(batch.first), place(batch.last));
                return Ok(Some(batch.text));
            }
            let _turn = self.share.turn().await;
            match self.tied_to.take() {
                Some(tied) => return Ok(Some(self.last_line(tied).await?)),
                None => self.sign().await?,
            }
        }
    }

    /// Signs the log as it is now. If the request has no end, the range is extended to the end of the checkpoint, so
    /// more events may have to be written.
    async fn sign(&mut self) -> Result<(), Interruption> {
        let Reading { caller, query, .. } = &mut self.reading;
        let tied = match caller.signer_of_pieces().sign(&query.organization_id).await {
            Ok(signed) => Tied { signed, refusal: None },
            Err(error) => {
                let refusal = match error {
                    SignError::Refused(refusal) => Some(refusal),
                    // The events after the last checkpoint are then not proved by this export.
                    SignError::Memory(MemoryError::Away(_)) => None,
                    error => return Err(error.into()),
                };
                let signed = match proof::last(caller.pool_of_pieces(), &query.organization_id).await {
                    // Then the trailer has no checkpoint.
                    Err(TreeError::Note(_)) => None,
                    signed => signed?,
                };
                Tied { signed, refusal }
            }
        };
        if let (Some(signed), None, None) = (&tied.signed, &tied.refusal, self.trailer.until)
            && !self.trailer.filtered
        {
            query.upto = query.upto.max(i64::try_from(signed.checkpoint.size).unwrap_or(i64::MAX));
        }
        self.tied_to = Some(tied);
        Ok(())
    }

    /// The trailer. If the log is not signed any more, an export to its end has the last signed checkpoint, which shows
    /// where the log differs from it. An export with `until` then has none, since events may be missing right after its
    /// end.
    async fn last_line(&mut self, Tied { signed, refusal }: Tied) -> Result<Vec<u8>, Interruption> {
        self.ended = true;
        let Reading { caller, query, .. } = &self.reading;
        let is_part_of_refused = refusal.is_some() && self.trailer.until.is_some();
        if let Some(signed) = signed.filter(|_| !is_part_of_refused) {
            let mut connection = caller.pool_of_pieces().acquire().await?;
            proof::tie(&mut self.trailer, &mut connection, &query.organization_id, &signed).await?;
        }
        self.trailer.refused = refusal.map(|refusal| refusal.to_string());
        let last_line = TrailerLine { trailer: std::mem::take(&mut self.trailer) };
        // Serializing numbers and text cannot fail.
        let mut line = serde_json::to_vec(&last_line).unwrap_or_default();
        line.push(b'\n');
        Ok(line)
    }
}

fn write_line(entry: &Entry<'_>, text: &mut Vec<u8>) {
    entry.write_envelope(text);
    text.push(b'\n');
}
