//! The whole range as NDJSON: one envelope a line, and a trailer as the last. A body without its trailer was cut off,
//! by the network or by a failure of ours, which breaks the connection rather than ending it well.
//!
//! A range of which nothing was left out is tied to a checkpoint that covers it, so it can be verified as a file.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::{TryStreamExt as _, stream};
use identity_log::history::{Entry, Query};
use identity_log::proof::trailer::{Trailer, TrailerLine};
use identity_log::proof::{self, SignError};

use super::batch::{Interruption, Reading};
use super::range::Range;
use crate::caller::Caller;

/// An export on its way.
#[derive(Debug)]
struct Export {
    reading: Reading,
    after: i64,
    is_bounded: bool,
    trailer: Trailer,
    ended: bool,
}

/// Streams what there is now; what happens from now on is not part of it.
pub(super) fn lines(range: Range, caller: Caller) -> Response {
    let Range { query, is_bounded, .. } = range;
    let trailer = Trailer { filtered: !query.is_whole(), ..Trailer::default() };
    let after = query.after;
    let export = Export { reading: Reading { caller, query }, after, is_bounded, trailer, ended: false };
    let chunks = stream::try_unfold(export, |mut export| async move {
        Ok::<_, Interruption>(export.next().await?.map(|chunk| (chunk, export)))
    });
    let chunks = chunks.inspect_err(Interruption::report);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(chunks)).into_response()
}

impl Export {
    /// Some lines; at last the trailer.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Interruption> {
        if self.ended {
            return Ok(None);
        }
        if let Some(batch) = self.reading.next(write_line).await? {
            self.trailer.count += u64::from(batch.count);
            self.trailer.first = self.trailer.first.or(u64::try_from(batch.first).ok());
            self.trailer.last = u64::try_from(batch.last).ok();
            return Ok(Some(batch.text));
        }
        self.ended = true;
        self.tie().await?;
        let last_line = TrailerLine { trailer: std::mem::take(&mut self.trailer) };
        // Numbers and text always encode.
        let mut line = serde_json::to_vec(&last_line).unwrap_or_default();
        line.push(b'\n');
        Ok(Some(line))
    }

    /// Ties the events to a checkpoint that covers them, which is signed now if there is none. A log that is not signed
    /// any more is shown with what was signed before: that is what tells where it differs.
    async fn tie(&mut self) -> Result<(), Interruption> {
        let Reading { caller, query: Query { organization_id, upto, .. } } = &self.reading;
        let (signed, is_refused) = match caller.signer().sign(organization_id).await {
            Ok(signed) => (signed, false),
            Err(SignError::Refused(_)) => (proof::last(caller.pool(), organization_id).await?, true),
            Err(error) => return Err(error.into()),
        };
        let Some(signed) = signed else { return Ok(()) };
        if self.trailer.filtered || self.trailer.count == 0 {
            self.trailer.checkpoint = Some(signed.note);
            return Ok(());
        }
        let upto = u64::try_from(*upto).ok().filter(|_| self.is_bounded || !is_refused);
        let after = u64::try_from(self.after).unwrap_or_default();
        let mut connection = caller.pool().acquire().await?;
        Ok(self.trailer.tie(&mut connection, organization_id, &signed, (after, upto)).await?)
    }
}

fn write_line(entry: &Entry<'_>, text: &mut Vec<u8>) {
    entry.write_envelope(text);
    text.push(b'\n');
}
