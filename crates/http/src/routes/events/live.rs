//! History, and then whatever happens, as server-sent events. The `id` of each is the cursor behind it, so a client
//! that connects again with `Last-Event-ID` misses nothing and gets nothing twice.
//!
//! The stream ends when the service stops; a failure breaks it. Either way the client connects again.

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::{TryStreamExt as _, stream};
use identity_log::ReadError;
use identity_log::follow::Head;
use identity_log::history::{self, Entry, Query};
use sqlx::PgPool;
use tokio::sync::watch;

use super::batch;
use super::range::Range;
use crate::cursor;

/// How long the stream may be silent, so that whatever stands between does not take it for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What the stream begins with: something at once, and how long a client waits before it connects again.
const OPENING: &[u8] = b"retry: 1000\n\n";

/// A client that follows.
#[derive(Debug)]
struct Following {
    pool: PgPool,
    query: Query,
    head: watch::Receiver<Head>,
    opened: bool,
}

/// Streams what there is and what comes.
pub(super) fn follow(range: Range, pool: PgPool, head: watch::Receiver<Head>) -> Response {
    let following = Following { pool, query: range.query, head, opened: false };
    let chunks = stream::try_unfold(following, |mut following| async move {
        Ok::<_, ReadError>(following.next().await?.map(|chunk| (chunk, following)))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, Body::from_stream(chunks.inspect_err(report))).into_response()
}

impl Following {
    /// The next events, or a sign of life; `None` when the service stops.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        if !self.opened {
            self.opened = true;
            return Ok(Some(OPENING.to_vec()));
        }
        loop {
            if self.head.has_changed().is_err() {
                return Ok(None);
            }
            if let Some(batch) = batch::next(&self.pool, &mut self.query, write_event).await? {
                return Ok(Some(batch.text));
            }
            // Marked as seen before the log is asked, so that what comes in between wakes us again.
            self.head.borrow_and_update();
            let upto = history::head(&self.pool, &self.query.organization_id).await?;
            if upto > self.query.upto {
                self.query.upto = upto;
                continue;
            }
            match tokio::time::timeout(HEARTBEAT, self.head.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(None),
                Err(_) => return Ok(Some(b": still here\n\n".to_vec())),
            }
        }
    }
}

/// An envelope has no line breaks, so it is one line of data.
fn write_event(entry: &Entry<'_>, text: &mut Vec<u8>) {
    text.extend_from_slice(b"id: ");
    text.extend(cursor::encode(entry.organization_id, entry.organization_sequence).bytes());
    text.extend_from_slice(b"\ndata: ");
    entry.write_envelope(text);
    text.extend_from_slice(b"\n\n");
}

/// A stream that fails has sent its status long ago: the log is the only place left to say why.
pub(super) fn report(error: &ReadError) {
    tracing::error!(error = error as &dyn Error, "history cut off in the middle");
}
