//! Bodies on their way through a connection: of a request, whose unread rest is read up to a limit, since some clients lose an
//! answer that comes before they have sent everything; and of an answer, which is given out in small pieces, so that a client
//! that reads nothing is noticed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use tower_http::timeout::DeadlineBody;

use super::places::Answer;
use super::wire::MAX_LINGERING_BYTES;

/// How large a piece of an answer is at most, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// How many bytes of an unread body are read so that its connection can be used again, and how long that may take.
const MAX_SKIPPED_BYTES: usize = 64 * 1024;
const SKIP_TIMEOUT: Duration = Duration::from_millis(10);

/// How many bytes of an unread body are read after its answer on HTTP/2, as many as of a connection of HTTP/1.1 that is closed.
/// The time limit is that of the whole body.
const MAX_DISCARDED_BYTES: usize = MAX_LINGERING_BYTES;

type Timed = Pin<Box<DeadlineBody<Incoming>>>;

/// The body of a request. When it is dropped, its unread rest is put into its `Home`.
pub(super) struct LentBody {
    body: Option<Timed>,
    /// Whether it could not be read to its end.
    is_broken: bool,
    home: Home,
}

/// The place of the body of a request after the handler has dropped it.
#[derive(Clone, Default)]
pub(super) struct Home(Arc<Mutex<Rest>>);

/// What is left of a body.
#[derive(Default)]
struct Rest {
    body: Option<Timed>,
    is_broken: bool,
}

impl LentBody {
    pub(super) fn new(body: Incoming, timeout: Duration, home: Home) -> Self {
        Self { body: Some(Box::pin(DeadlineBody::new(timeout, body))), is_broken: false, home }
    }
}

impl Drop for LentBody {
    fn drop(&mut self) {
        let rest = Rest { body: self.body.take(), is_broken: self.is_broken };
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = rest;
    }
}

impl HttpBody for LentBody {
    type Data = Bytes;
    type Error = <DeadlineBody<Incoming> as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let frame = ready!(body.as_mut().poll_frame(context));
        self.is_broken |= matches!(frame, Some(Err(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Home {
    /// Whether the whole body has been read, without a fault. A small rest is read here. A client that waits for
    /// `100 Continue` is not asked for its body.
    pub(super) async fn is_read(&self, awaits_continue: bool) -> bool {
        let Rest { body, is_broken } = self.take();
        if is_broken {
            return false;
        }
        let Some(mut body) = body else { return true };
        let skipped = skip(&mut body, MAX_SKIPPED_BYTES);
        !awaits_continue && tokio::time::timeout(SKIP_TIMEOUT, skipped).await.unwrap_or(false)
    }

    /// Reads the rest of the body while the answer is sent. Otherwise HTTP/2 would reset the stream when the answer ends, and a
    /// client that is still sending takes that for an error and drops the answer.
    pub(super) fn discard(&self) {
        if let Rest { body: Some(mut body), is_broken: false } = self.take() {
            tokio::spawn(async move { skip(&mut body, MAX_DISCARDED_BYTES).await });
        }
    }

    /// What is left, unless it is the end.
    fn take(&self) -> Rest {
        let rest = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        Rest { body: rest.body.filter(|body| !body.is_end_stream()), ..rest }
    }
}

/// Reads a body to its end. `false` if it is longer, or breaks off.
async fn skip(body: &mut Timed, max_bytes: usize) -> bool {
    let mut skipped = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        skipped += frame.data_ref().map_or(0, Bytes::len);
        if skipped > max_bytes {
            return false;
        }
    }
    true
}

/// The body of an answer. It takes part in what the answer may have in memory until its last piece is written. HTTP/2 drops this body
/// as soon as it has that piece, and keeps the piece until the client grants room for it; so the pieces keep the inner body, too.
pub(super) struct PacedBody {
    sending: Arc<Sending>,
    /// What is left of the last frame.
    rest: Bytes,
}

/// An answer that is being sent.
struct Sending {
    body: Mutex<Body>,
    answer: Mutex<Answer>,
}

/// A part of an answer, from when it is asked for until it is written.
struct Piece {
    bytes: Bytes,
    sending: Arc<Sending>,
}

impl Sending {
    fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.sending.answer().is_written();
    }
}

impl PacedBody {
    pub(super) fn new(body: Body, answer: Answer) -> Self {
        let sending = Sending { body: Mutex::new(body), answer: Mutex::new(answer) };
        Self { sending: Arc::new(sending), rest: Bytes::new() }
    }

    /// The next piece of the present frame. The next frame is asked for when all of this one is sent.
    fn piece(&mut self) -> Bytes {
        self.sending.answer().waits_for_client();
        let bytes = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        Bytes::from_owner(Piece { bytes, sending: Arc::clone(&self.sending) })
    }
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.sending.answer().is_asked_for_more();
        if self.rest.is_empty() {
            let frame = Pin::new(&mut *self.sending.body()).poll_frame(context);
            match ready!(frame) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(self.piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.sending.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let inner = self.sending.body().size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}
