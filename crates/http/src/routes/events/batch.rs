//! Reading a range in batches, so that memory is bounded by the batch and a slow client holds no connection.

use identity_log::ReadError;
use identity_log::history::{Entry, History, Query};
use sqlx::PgPool;

/// The most events of a batch.
const MOST_EVENTS: u32 = 4096;

/// The size in bytes after which a batch takes no further event.
const ENOUGH_TEXT: usize = 2 * 1024 * 1024;

/// Some events, written one after another.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) text: Vec<u8>,
    pub(super) count: u32,
    pub(super) first: i64,
    pub(super) last: i64,
}

/// Reads the next batch of what `query` asks for and moves it on behind; `None` when all of it was read.
pub(super) async fn next(
    pool: &PgPool,
    query: &mut Query,
    write: fn(&Entry<'_>, &mut Vec<u8>),
) -> Result<Option<Batch>, ReadError> {
    if query.after >= query.upto {
        return Ok(None);
    }
    query.limit = Some(MOST_EVENTS);
    let mut connection = pool.acquire().await?;
    let mut history = History::begin(&mut connection, query);
    let mut batch = Batch { text: Vec::with_capacity(ENOUGH_TEXT), ..Batch::default() };
    let mut exhausted = true;
    while let Some(entry) = history.next().await? {
        write(&entry, &mut batch.text);
        if batch.count == 0 {
            batch.first = entry.organization_sequence;
        }
        batch.count += 1;
        batch.last = entry.organization_sequence;
        if batch.count == MOST_EVENTS || batch.text.len() >= ENOUGH_TEXT {
            exhausted = false;
            break;
        }
    }
    query.after = if exhausted { query.upto } else { batch.last };
    Ok((batch.count > 0).then_some(batch))
}
