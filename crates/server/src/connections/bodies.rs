//! Bodies on their way through a connection: of a request, of which the unread rest is read if it is small; and of an
//! answer, which is given out in small pieces, so that a client that reads nothing is noticed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use tower_http::timeout::DeadlineBody;

use super::places::Answer;

/// How large a piece of an answer is at most, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// How many bytes of an unread body are read so that its connection can be used again, and how long that may take.
const MAX_SKIPPED_BYTES: usize = 64 * 1024;
const SKIP_TIMEOUT: Duration = Duration::from_millis(10);

type Timed = Pin<Box<DeadlineBody<Incoming>>>;

/// The body of a request. When it is dropped, its unread rest is put into its `Home`.
pub(super) struct LentBody {
    body: Option<Timed>,
    home: Home,
}

/// The place of the body of a request after the handler has dropped it.
#[derive(Clone, Default)]
pub(super) struct Home(Arc<Mutex<Option<Timed>>>);

impl LentBody {
    pub(super) fn new(body: Incoming, timeout: Duration, home: Home) -> Self {
        Self { body: Some(Box::pin(DeadlineBody::new(timeout, body))), home }
    }
}

impl Drop for LentBody {
    fn drop(&mut self) {
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
    }
}

impl HttpBody for LentBody {
    type Data = Bytes;
    type Error = <DeadlineBody<Incoming> as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.body.as_mut().map_or(Poll::Ready(None), |body| body.as_mut().poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Home {
    /// Whether the whole body has been read. A small rest is read here. A client that waits for `100 Continue` is not
    /// asked for its body.
    pub(super) async fn is_read(&self, awaits_continue: bool) -> bool {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut body) = body.filter(|body| !body.is_end_stream()) else { return true };
        !awaits_continue && tokio::time::timeout(SKIP_TIMEOUT, skip(&mut body)).await.unwrap_or(false)
    }
}

async fn skip(body: &mut Timed) -> bool {
    let mut skipped = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        skipped += frame.data_ref().map_or(0, Bytes::len);
        if skipped > MAX_SKIPPED_BYTES {
            return false;
        }
    }
    true
}

/// The body of an answer.
pub(super) struct PacedBody {
    body: Body,
    /// What is left of the last frame.
    rest: Bytes,
    answer: Answer,
}

impl PacedBody {
    pub(super) fn new(body: Body, answer: Answer) -> Self {
        Self { body, rest: Bytes::new(), answer }
    }

    /// The next piece of the present frame. The next frame is asked for when all of this one is sent.
    fn piece(&mut self) -> Bytes {
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        if !self.is_end_stream() {
            self.answer.waits_for_client();
        }
        piece
    }
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.answer.goes_on();
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
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
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}
