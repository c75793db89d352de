//! History, and then whatever happens, as server-sent events. The `id` of each is the cursor behind it, so a client
//! that connects again with `Last-Event-ID` misses nothing and gets nothing twice.
//!
//! The stream ends when the service stops; a failure breaks it. Either way the client connects again.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::{TryStreamExt as _, stream};
use identity_log::follow::Head;
use identity_log::history::{self, Entry};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::batch::Reading;
use super::range::EventRange;
use crate::caller::Caller;
use crate::cursor::{self, HistoryPlace};
use crate::routes::interruption::Interruption;

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The headers of a stream. nginx keeps an answer until it ends unless it is told not to.
const HEADERS: [(HeaderName, HeaderValue); 2] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
    (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
];

/// How many events are looked through at a time for those that fit a filter, so that a client whose filter fits few of
/// many hears in between that it is not forgotten.
const STRETCH: i64 = 50_000;

/// What the stream begins with: something at once, and how long a client waits before it connects again.
const OPENING: &[u8] = b"retry: 1000\n\n";

/// What a client hears when nothing has happened for it.
const SIGN_OF_LIFE: &[u8] = b": still here\n\n";

/// What a client hears whose place is not in the history any more. The empty `id` makes it begin anew when it connects
/// again.
const HISTORY_CHANGED: &[u8] = b"event: history_changed\nid\ndata: {\"code\":\"history_changed\"}\n\n";

/// A client that follows.
#[derive(Debug)]
struct Following {
    reading: Reading,
    /// How far the history goes, as far as is known.
    upto: i64,
    news: News,
    heartbeat: Duration,
    opened: bool,
    /// Whether the client was told that the history has changed.
    ended: bool,
}

/// Streams what there is and what comes.
pub(super) fn follow(range: EventRange, caller: Caller) -> Response {
    let news = News { head: caller.head(), silent_until: Instant::now() };
    let (heartbeat, upto) = (caller.settings().heartbeat, range.query.upto);
    let reading = Reading { caller, query: range.query };
    let following = Following { reading, upto, news, heartbeat, opened: false, ended: false };
    let chunks = stream::try_unfold(following, |mut following| async move {
        let chunk = following.next().await?;
        following.reading.check_key().await?;
        following.news.silent_until = Instant::now() + following.heartbeat;
        Ok::<_, Interruption>(chunk.map(|chunk| (chunk, following)))
    });
    (HEADERS, Body::from_stream(chunks.inspect_err(Interruption::report))).into_response()
}

/// Tells a client that its place is not in the history, and ends.
pub(super) fn history_changed() -> Response {
    let body = [OPENING, HISTORY_CHANGED].concat();
    (HEADERS, body).into_response()
}

impl Following {
    /// The next events, or a sign of life; `None` when the service stops.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Interruption> {
        if !self.opened {
            self.opened = true;
            return Ok(Some(OPENING.to_vec()));
        }
        if self.ended {
            return Ok(None);
        }
        loop {
            if self.news.have_ended() {
                return Ok(None);
            }
            self.reading.query.upto = self.end_of_stretch();
            if let Some(batch) = self.reading.next(write_event).await? {
                return Ok(Some(batch.text));
            }
            if self.reading.query.after < self.upto {
                if self.news.is_silence_over() {
                    return Ok(Some(SIGN_OF_LIFE.to_vec()));
                }
                continue;
            }
            // Marked as seen before the log is asked, so that what comes in between wakes us again.
            self.news.head.borrow_and_update();
            let Reading { caller, query } = &self.reading;
            let upto = history::head(caller.pool(), &query.organization_id).await?;
            if upto > self.upto {
                self.upto = upto;
                continue;
            }
            if upto < self.upto {
                self.ended = true;
                return Ok(Some(HISTORY_CHANGED.to_vec()));
            }
            match self.news.wait().await {
                Wake::News => {}
                Wake::Silence => return Ok(Some(SIGN_OF_LIFE.to_vec())),
                Wake::End => return Ok(None),
            }
        }
    }

    /// How far is read next. Single aggregates are found by their own index, however far apart their events are.
    fn end_of_stretch(&self) -> i64 {
        let query = &self.reading.query;
        match query.aggregate_ids {
            Some(_) => self.upto,
            None => self.upto.min(query.after.saturating_add(STRETCH)),
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

    fn is_silence_over(&self) -> bool {
        Instant::now() >= self.silent_until
    }

    async fn wait(&mut self) -> Wake {
        if self.is_silence_over() {
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
    text.extend(cursor::encode(entry.organization_id, HistoryPlace::behind(entry)).bytes());
    text.extend_from_slice(b"\ndata: ");
    entry.write_envelope(text);
    text.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use identity_log::follow::Head;
    use tokio::sync::watch;
    use tokio::time::{Duration, Instant};

    use super::{News, Wake};

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
        let (told, mut waiting) = news(Duration::from_secs(15));
        tell(&told);
        assert_eq!(waiting.wait().await, Wake::News);
        drop((teller, told));
        assert!(waiting.have_ended());
        assert_eq!(waiting.wait().await, Wake::End);
    }
}
