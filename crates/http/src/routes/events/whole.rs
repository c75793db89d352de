//! The whole range as NDJSON: one envelope a line, and a trailer as the last. A body without its trailer was cut off,
//! by the network or by a failure of ours, which breaks the connection rather than ending it well.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::{TryStreamExt as _, stream};
use identity_log::history::{Entry, Query};
use identity_log::{ReadError, proof};
use serde::Serialize;
use sqlx::PgPool;

use super::batch;
use super::range::Range;

/// What the last line says of those before it.
#[derive(Debug, Default, Serialize)]
struct Trailer {
    count: u64,
    first: Option<i64>,
    last: Option<i64>,
    checkpoint: Option<String>,
}

#[derive(Debug, Serialize)]
struct LastLine {
    trailer: Trailer,
}

/// An export on its way.
#[derive(Debug)]
struct Export {
    pool: PgPool,
    query: Query,
    trailer: Trailer,
    ended: bool,
}

/// Streams what there is now; what happens from now on is not part of it.
pub(super) fn lines(range: Range, pool: PgPool) -> Response {
    let export = Export { pool, query: range.query, trailer: Trailer::default(), ended: false };
    let chunks = stream::try_unfold(export, |mut export| async move {
        Ok::<_, ReadError>(export.next().await?.map(|chunk| (chunk, export)))
    });
    let chunks = chunks.inspect_err(super::live::report);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(chunks)).into_response()
}

impl Export {
    /// Some lines; at last the trailer.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        if let Some(batch) = batch::next(&self.pool, &mut self.query, write_line).await? {
            self.trailer.count += u64::from(batch.count);
            self.trailer.first.get_or_insert(batch.first);
            self.trailer.last = Some(batch.last);
            return Ok(Some(batch.text));
        }
        self.ended = true;
        let Query { organization_id, upto, .. } = &self.query;
        self.trailer.checkpoint = proof::last_within(&self.pool, organization_id, *upto).await?;
        let last_line = LastLine { trailer: std::mem::take(&mut self.trailer) };
        // Numbers and text always encode.
        let mut line = serde_json::to_vec(&last_line).unwrap_or_default();
        line.push(b'\n');
        Ok(Some(line))
    }
}

fn write_line(entry: &Entry<'_>, text: &mut Vec<u8>) {
    entry.write_envelope(text);
    text.push(b'\n');
}
