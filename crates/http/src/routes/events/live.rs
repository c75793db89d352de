//! History, and then new events as they happen, as server-sent events. The `id` of each is the cursor after it, so a
//! client that connects again with `Last-Event-ID` misses nothing and gets nothing twice.
//!
//! The stream ends when the service stops; a failure breaks it. Either way the client connects again.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use identity_log::history::Entry;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::batch::Reading;
use super::range::EventRange;
use crate::caller::Caller;
use crate::cursor::{self, HistoryPlace};
use crate::limits::{Held, StreamShare};
use crate::routes::interruption::Interruption;

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The headers of a stream. nginx would buffer the whole answer without `X-Accel-Buffering: no`.
const HEADERS: [(HeaderName, HeaderValue); 2] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
    (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
];

/// How many events one query searches for those that match a filter. A client whose filter matches few events gets
/// heartbeats between such queries.
const EVENTS_PER_SEARCH: i64 = 50_000;

/// The first bytes of a stream. They are sent at once, and say after how many milliseconds a client should reconnect.
const OPENING: &[u8] = b"retry: 1000\n\n";

/// A comment, sent when there was no event for the client.
const HEARTBEAT: &[u8] = b": still here\n\n";

/// The event for a client whose cursor is of another history. The empty `id` makes an `EventSource` forget its cursor, so it
/// begins with the first event when it connects again.
const HISTORY_CHANGED: &[u8] = b"event: history_changed\nid\ndata: {\"code\":\"history_changed\"}\n\n";

/// A client that follows history.
#[derive(Debug)]
struct Following {
    reading: Reading,
    /// The last sequence of the history that is known.
    upto: i64,
    /// Whether the client has got all events so far. From then on its reads are shared with other clients.
    is_up_to_date: bool,
    news: News,
    heartbeat: Duration,
    opened: bool,
    /// Whether the client was told that the history changed; the stream then ends.
    ended: bool,
    share: StreamShare,
    /// The room for the events that are being sent, if they are large.
    held: Option<Held>,
}

/// Streams the events of the range, and then new ones.
pub(super) fn follow(range: EventRange, caller: Caller, share: StreamShare) -> Response {
    let sequence = caller.followers().follow(caller.organization_id());
    let news = News { sequence, silent_until: Instant::now() };
    let primary = caller.primary().clone();
    let (heartbeat, upto) = (caller.settings().heartbeat, range.query.upto);
    let reading = Reading { caller, query: range.query, place: range.place };
    let following = Following {
        reading,
        upto,
        is_up_to_date: false,
        news,
        heartbeat,
        opened: false,
        ended: false,
        share,
        held: None,
    };
    let chunks = stream::try_unfold(following, |mut following| async move {
        let chunk = following.next().await?;
        let key_is_valid_for = following.reading.check_key().await?;
        following.news.silent_until = Instant::now() + following.heartbeat.min(key_is_valid_for);
        Ok::<_, Interruption>(chunk.map(|chunk| (chunk, following)))
    });
    (HEADERS, Interruption::body(chunks, &primary)).into_response()
}

/// A stream with the one event `history_changed`.
pub(super) fn history_changed() -> Response {
    let body = [OPENING, HISTORY_CHANGED].concat();
    (HEADERS, body).into_response()
}

impl Following {
    /// The next events, or a heartbeat; `None` when the service stops.
    async fn next(&mut self) -> Result<Option<Bytes>, Interruption> {
        self.held = None;
        if !self.opened {
            self.opened = true;
            return Ok(Some(Bytes::from_static(OPENING)));
        }
        if self.ended {
            return Ok(None);
        }
        loop {
            let next = match self.follow().await {
                Err(Interruption::HistoryChanged) => {
                    self.ended = true;
                    return Ok(Some(Bytes::from_static(HISTORY_CHANGED)));
                }
                next => next?,
            };
            match next {
                Next::Events(text) => return Ok(Some(text)),
                Next::Wake(Wake::News) => {}
                Next::Wake(Wake::Silence) => return Ok(Some(Bytes::from_static(HEARTBEAT))),
                Next::Wake(Wake::End) => return Ok(None),
            }
        }
    }

    /// Reads the next events, or waits for some if there are none.
    async fn follow(&mut self) -> Result<Next, Interruption> {
        if self.news.have_ended() {
            return Ok(Next::Wake(Wake::End));
        }
        let told = self.news.sequence();
        if told < self.upto && told > 0 {
            // The news may be older than what the client has read.
            self.must_be_unchanged().await?;
        }
        self.upto = self.upto.max(told);
        let text = self.read().await?;
        if !text.is_empty() {
            return Ok(Next::Events(text));
        }
        if self.reading.query.after < self.upto && !self.news.is_silence_over() {
            return Ok(Next::Wake(Wake::News));
        }
        self.is_up_to_date = true;
        let wake = self.news.wait().await;
        if wake == Wake::Silence {
            self.must_be_unchanged().await?;
        }
        Ok(Next::Wake(wake))
    }

    /// Fails if the history is not the one any more that the client has read.
    async fn must_be_unchanged(&self) -> Result<(), Interruption> {
        let Reading { caller, query, place } = &self.reading;
        let _turn = self.share.turn().await;
        let is_unchanged = place.is_in(caller.pool_of_pieces(), &query.organization_id).await?;
        if is_unchanged { Ok(()) } else { Err(Interruption::HistoryChanged) }
    }

    /// The events that the next query finds; empty if it finds none.
    async fn read(&mut self) -> Result<Bytes, Interruption> {
        self.reading.query.upto = self.end_of_search();
        if self.reading.query.after >= self.reading.query.upto {
            return Ok(Bytes::new());
        }
        let _turn = self.share.turn().await;
        let events = if self.is_up_to_date {
            self.reading.next_shared(write_event).await?
        } else {
            let batch = self.reading.next(write_event).await?;
            batch.map(|batch| batch.text.into()).unwrap_or_default()
        };
        self.held = self.share.hold(events.len()).await;
        Ok(events)
    }

    /// Up to which sequence the next query reads. Events of given aggregates are found by an index, so that query needs
    /// no bound.
    fn end_of_search(&self) -> i64 {
        let query = &self.reading.query;
        match query.aggregate_ids {
            Some(_) => self.upto,
            None => self.upto.min(query.after.saturating_add(EVENTS_PER_SEARCH)),
        }
    }
}

/// Tells of new events of the organization.
#[derive(Debug)]
struct News {
    sequence: watch::Receiver<i64>,
    /// When the next heartbeat is due, or the key has to be checked.
    silent_until: Instant,
}

/// What comes next in a stream.
#[derive(Debug)]
enum Next {
    /// Events.
    Events(Bytes),
    /// None, and this is why waiting for some has ended.
    Wake(Wake),
}

/// Why waiting for news ended.
#[derive(Debug, PartialEq, Eq)]
enum Wake {
    /// Something was appended.
    News,
    /// A heartbeat is due.
    Silence,
    /// The service stops.
    End,
}

impl News {
    fn have_ended(&self) -> bool {
        self.sequence.has_changed().is_err()
    }

    /// The last sequence that was told. It counts as seen, so only a later one ends the next wait.
    fn sequence(&mut self) -> i64 {
        *self.sequence.borrow_and_update()
    }

    fn is_silence_over(&self) -> bool {
        Instant::now() >= self.silent_until
    }

    async fn wait(&mut self) -> Wake {
        if self.is_silence_over() {
            return Wake::Silence;
        }
        match timeout_at(self.silent_until, self.sequence.changed()).await {
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
    use tokio::sync::watch;
    use tokio::time::{Duration, Instant};

    use super::{News, Wake};

    fn news(silent_for: Duration) -> (watch::Sender<i64>, News) {
        let (teller, sequence) = watch::channel(0);
        (teller, News { sequence, silent_until: Instant::now() + silent_for })
    }

    #[tokio::test]
    async fn news_do_not_put_a_sign_of_life_off() {
        let (teller, mut news) = news(Duration::ZERO);
        teller.send_modify(|sequence| *sequence += 1);
        assert_eq!(news.wait().await, Wake::Silence);
    }

    #[tokio::test]
    async fn silence_lasts_until_it_is_told_or_broken() {
        let (teller, mut waiting) = news(Duration::from_millis(1));
        assert_eq!(waiting.wait().await, Wake::Silence);
        let (told, mut waiting) = news(Duration::from_secs(15));
        told.send_modify(|sequence| *sequence += 1);
        assert_eq!(waiting.wait().await, Wake::News);
        drop((teller, told));
        assert!(waiting.have_ended());
        assert_eq!(waiting.wait().await, Wake::End);
    }
}
