//! The bytes of a connection. A client that reads nothing for too long is cut off. If a client is still sending a body
//! when its answer is sent, the body is read for a while: if the connection were closed at once, the client would lose
//! the answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How many bytes of such a body are read before the connection is closed.
pub(super) const MAX_LINGERING_BYTES: usize = 32 * 1024 * 1024;

/// How much is read at a time, in bytes.
const SCRATCH_BYTES: usize = 16 * 1024;

/// Whether a connection lingers when it is closed. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub(super) struct Lingers(Arc<AtomicBool>);

impl Lingers {
    /// Makes the connection linger.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The bytes of a connection.
pub(super) struct Wire<S> {
    stream: S,
    write_timeout: Duration,
    linger_timeout: Duration,
    lingers: Lingers,
    /// Ends when the client has read nothing for too long. It exists while something waits to be written.
    stalled: Option<Pin<Box<Sleep>>>,
    closing: Option<Closing>,
}

/// A connection on which nothing more is written.
struct Closing {
    over: Pin<Box<Sleep>>,
    taken: usize,
}

impl<S> Wire<S> {
    pub(super) fn new(
        stream: S,
        write_timeout: Duration,
        linger_timeout: Duration,
        lingers: Lingers,
    ) -> Self {
        Self { stream, write_timeout, linger_timeout, lingers, stalled: None, closing: None }
    }

    /// The result of writing something; an error if the client has read nothing for too long.
    fn written<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads until the client ends, has sent `MAX_LINGERING_BYTES`, or the time is over.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let timeout = self.linger_timeout;
        let closing =
            self.closing.get_or_insert_with(|| Closing { over: Box::pin(sleep(timeout)), taken: 0 });
        let mut scratch = [0; SCRATCH_BYTES];
        while closing.taken < MAX_LINGERING_BYTES && closing.over.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            closing.taken += buffer.filled().len();
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.written(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.written(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.written(outcome, context))?;
        }
        if self.lingers.is_set() {
            ready!(self.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}
