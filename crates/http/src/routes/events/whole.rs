//! The whole range as NDJSON: one envelope a line, and a trailer as the last. A body without its trailer was cut off,
//! by the network or by a failure of ours, which breaks the connection rather than ending it well.
//!
//! A range of which nothing was left out is tied to a checkpoint that covers it, so it can be verified as a file. Where
//! no end was asked for, it ends where that checkpoint does: what is missing at its end is seen.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream;
use identity_log::history::Entry;
use identity_log::proof::trailer::{Trailer, TrailerLine};
use identity_log::proof::{self, Refusal, SignError, Signed};

use super::batch::Reading;
use super::range::EventRange;
use crate::caller::Caller;
use crate::limits::StreamShare;
use crate::routes::interruption::Interruption;

/// An export on its way.
#[derive(Debug)]
struct Export {
    reading: Reading,
    trailer: Trailer,
    /// What the trailer will be tied to, once all events of the range are written.
    tied_to: Option<Tied>,
    ended: bool,
    share: StreamShare,
}

/// The checkpoint of an export, and why there is no later one, if so.
#[derive(Debug)]
struct Tied {
    signed: Option<Signed>,
    refusal: Option<Refusal>,
}

/// Streams what there is until it is signed; what happens from then on is not part of it.
pub(super) fn lines(range: EventRange, caller: Caller, share: StreamShare) -> Response {
    let EventRange { query, is_bounded, .. } = range;
    let primary = caller.primary().clone();
    let sequence = |sequence: i64| u64::try_from(sequence).unwrap_or_default();
    // A range may end before it begins; then it is empty.
    let until = is_bounded.then(|| sequence(query.upto.max(query.after)));
    let trailer = Trailer { filtered: !query.is_whole(), ..Trailer::of_range(sequence(query.after), until) };
    let export = Export { reading: Reading { caller, query }, trailer, tied_to: None, ended: false, share };
    let chunks = stream::try_unfold(export, |mut export| async move {
        Ok::<_, Interruption>(export.next().await?.map(|chunk| (chunk, export)))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Interruption::body(chunks, &primary)).into_response()
}

impl Export {
    /// Some lines; at last the trailer.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Interruption> {
        if self.ended {
            return Ok(None);
        }
        loop {
            let turn = self.share.turns.take().await;
            let batch = self.reading.next(write_line).await?;
            drop(turn);
            if let Some(batch) = batch {
                let place = |sequence: i64| u64::try_from(sequence).unwrap_or_default();
                self.trailer.add(u64::from(batch.count), place(batch.first), place(batch.last));
                return Ok(Some(batch.text));
            }
            match self.tied_to.take() {
                Some(tied) => return Ok(Some(self.last_line(tied).await?)),
                None => self.sign().await?,
            }
        }
    }

    /// Signs what there is. An open end moves to where the checkpoint ends, so that there may be more to write.
    async fn sign(&mut self) -> Result<(), Interruption> {
        let Reading { caller, query } = &mut self.reading;
        let tied = match caller.signer().sign(&query.organization_id).await {
            Ok(signed) => Tied { signed, refusal: None },
            Err(SignError::Refused(refusal)) => {
                let signed = proof::last(caller.pool(), &query.organization_id).await?;
                Tied { signed, refusal: Some(refusal) }
            }
            Err(error) => return Err(error.into()),
        };
        if let (Some(signed), None, None) = (&tied.signed, &tied.refusal, self.trailer.until)
            && !self.trailer.filtered
        {
            query.upto = query.upto.max(i64::try_from(signed.checkpoint.size).unwrap_or(i64::MAX));
        }
        self.tied_to = Some(tied);
        Ok(())
    }

    /// The trailer. A log that is not signed any more is shown to its end with what was signed before: that is what
    /// tells where it differs. A part of it is tied to nothing, since events may be missing right behind the part.
    async fn last_line(&mut self, Tied { signed, refusal }: Tied) -> Result<Vec<u8>, Interruption> {
        self.ended = true;
        let Reading { caller, query } = &self.reading;
        let is_part_of_refused = refusal.is_some() && self.trailer.until.is_some();
        if let Some(signed) = signed.filter(|_| !is_part_of_refused) {
            let mut connection = caller.pool().acquire().await?;
            self.trailer.tie(&mut connection, &query.organization_id, &signed).await?;
        }
        self.trailer.refused = refusal.map(|refusal| refusal.to_string());
        let last_line = TrailerLine { trailer: std::mem::take(&mut self.trailer) };
        // Numbers and text always encode.
        let mut line = serde_json::to_vec(&last_line).unwrap_or_default();
        line.push(b'\n');
        Ok(line)
    }
}

fn write_line(entry: &Entry<'_>, text: &mut Vec<u8>) {
    entry.write_envelope(text);
    text.push(b'\n');
}
