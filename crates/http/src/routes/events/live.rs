//! History, and then whatever happens, as server-sent events. The `id` of each is the cursor behind it, so a client
//! that connects again with `Last-Event-ID` misses nothing and gets nothing twice.
//!
//! The stream ends when the service stops; a failure breaks it. Either way the client connects again.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::{TryStreamExt as _, stream};
use identity_log::follow::Head;
use identity_log::history::{self, Entry};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::batch::{Interruption, Reading};
use super::range::Range;
use crate::caller::Caller;
use crate::cursor;

/// How long the stream may be silent, so that whatever stands between does not take it for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What the stream begins with: something at once, and how long a client waits before it connects again.
const OPENING: &[u8] = b"retry: 1000\n\n";

/// What a client hears when nothing has happened for it.
const SIGN_OF_LIFE: &[u8] = b": still here\n\n";

/// A client that follows.
#[derive(Debug)]
struct Following {
    reading: Reading,
    news: News,
    opened: bool,
}

/// Streams what there is and what comes.
pub(super) fn follow(range: Range, caller: Caller) -> Response {
    let news = News { head: caller.head(), silent_until: Instant::now() };
    let following = Following { reading: Reading { caller, query: range.query }, news, opened: false };
    let chunks = stream::try_unfold(following, |mut following| async move {
        let chunk = following.next().await?;
        following.news.silent_until = Instant::now() + HEARTBEAT;
        Ok::<_, Interruption>(chunk.map(|chunk| (chunk, following)))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, Body::from_stream(chunks.inspect_err(Interruption::report))).into_response()
}

impl Following {
    /// The next events, or a sign of life; `None` when the service stops.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Interruption> {
        if !self.opened {
            self.opened = true;
            return Ok(Some(OPENING.to_vec()));
        }
        loop {
            if self.news.have_ended() {
                return Ok(None);
            }
            if let Some(batch) = self.reading.next(write_event).await? {
                return Ok(Some(batch.text));
            }
            // Marked as seen before the log is asked, so that what comes in between wakes us again.
            self.news.head.borrow_and_update();
            let query = &mut self.reading.query;
            let upto = history::head(self.reading.caller.pool(), &query.organization_id).await?;
            if upto > query.upto {
                query.upto = upto;
                continue;
            }
            match self.news.wait().await {
                Wake::News => {}
                Wake::Silence => return Ok(Some(SIGN_OF_LIFE.to_vec())),
                Wake::End => return Ok(None),
            }
        }
    }
}

/// What tells of new events, to whomever they belong.
#[derive(Debug)]
struct News {
    head: watch::Receiver<Head>,
    /// When the client has to hear something, also while news is of no interest to it.
    silent_until: Instant,
}

/// What ends the waiting for news.
#[derive(Debug, PartialEq, Eq)]
enum Wake {
    /// Something was appended.
    News,
    /// The client has heard nothing for long enough.
    Silence,
    /// The service stops.
    End,
}

impl News {
    fn have_ended(&self) -> bool {
        self.head.has_changed().is_err()
    }

    async fn wait(&mut self) -> Wake {
        if Instant::now() >= self.silent_until {
            return Wake::Silence;
        }
        match timeout_at(self.silent_until, self.head.changed()).await {
            Ok(Ok(())) => Wake::News,
            Ok(Err(_)) => Wake::End,
            Err(_) => Wake::Silence,
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

#[cfg(test)]
mod tests {
    use identity_log::follow::Head;
    use tokio::sync::watch;
    use tokio::time::{Duration, Instant};

    use super::{HEARTBEAT, News, Wake};

    fn news(silent_for: Duration) -> (watch::Sender<Head>, News) {
        let (teller, head) = watch::channel(Head { position: 0, following: true });
        (teller, News { head, silent_until: Instant::now() + silent_for })
    }

    fn tell(teller: &watch::Sender<Head>) {
        teller.send_modify(|head| head.position += 1);
    }

    #[tokio::test]
    async fn news_of_others_do_not_put_a_sign_of_life_off() {
        let (teller, mut news) = news(Duration::ZERO);
        tell(&teller);
        assert_eq!(news.wait().await, Wake::Silence);
    }

    #[tokio::test]
    async fn silence_lasts_until_it_is_told_or_broken() {
        let (teller, mut waiting) = news(Duration::from_millis(1));
        assert_eq!(waiting.wait().await, Wake::Silence);
        let (told, mut waiting) = news(HEARTBEAT);
        tell(&told);
        assert_eq!(waiting.wait().await, Wake::News);
        drop((teller, told));
        assert!(waiting.have_ended());
        assert_eq!(waiting.wait().await, Wake::End);
    }

    #[test]
    fn a_client_hears_something_every_15_seconds() {
        assert_eq!(HEARTBEAT, Duration::from_secs(15));
    }
}
