//! Lists that are written as they are read, some rows at a time, so that a list takes the memory of one piece, and a
//! slow client keeps no connection to the database. The first piece is read before the answer begins: a failure until
//! then is answered with a status. A later failure breaks the answer off.

use std::mem;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::{StreamExt as _, stream};

use super::interruption::Interruption;
use super::json_text;
use crate::caller::{Caller, KeyCheck};
use crate::error::ApiError;

/// How many rows are read before an answer begins. They are few, so that it begins soon.
const FIRST_PIECE_ROWS: u32 = 64;

/// How many rows are read at a time after that, if they fit into a piece.
const PIECE_ROWS: u32 = 512;

/// How many rows are read at a time if 512 of them can be much longer than a piece may be.
pub(crate) const FEW_ROWS: u32 = FIRST_PIECE_ROWS;

/// The size in bytes after which a piece takes no further row.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;

/// The size in bytes after which a page takes no further row; the rest is on the next page.
pub(crate) const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// A list that is read piece by piece.
pub(crate) trait Pieces: Send + 'static {
    /// Writes the next piece, of at most `limit` rows, behind `body`. Returns whether it was the last.
    fn piece(
        &mut self,
        limit: u32,
        body: &mut String,
    ) -> impl Future<Output = Result<bool, Interruption>> + Send;

    /// About how many bytes the list itself has in memory until its end.
    fn bytes(&self) -> usize {
        0
    }
}

/// The entries of a list, which are read some at a time.
pub(crate) trait Entries: Send + 'static {
    /// Reads the next entries, at most `limit`, each as JSON text. Also returns whether they are the last.
    fn next(&mut self, limit: u32) -> impl Future<Output = Result<(Vec<String>, bool), Interruption>> + Send;
}

/// Entries that are written between two texts, with commas.
struct List<E> {
    key: KeyCheck,
    entries: E,
    before: String,
    behind: &'static str,
    has_entries: bool,
}

impl<E: Entries> Pieces for List<E> {
    async fn piece(&mut self, limit: u32, body: &mut String) -> Result<bool, Interruption> {
        let (entries, is_last) = self.entries.next(limit).await?;
        Interruption::unless_valid(&self.key).await?;
        body.push_str(&mem::take(&mut self.before));
        for entry in entries {
            body.push_str(if mem::replace(&mut self.has_entries, true) { "," } else { "" });
            body.push_str(&entry);
        }
        body.push_str(if is_last { self.behind } else { "" });
        Ok(is_last)
    }
}

/// Answers with all entries, between these texts.
pub(crate) async fn list(
    entries: impl Entries,
    before: String,
    behind: &'static str,
    caller: &Caller,
) -> Result<Response, ApiError> {
    whole(List { key: caller.key_check(), entries, before, behind, has_entries: false }, caller).await
}

/// How many rows the next piece asks for, if this many had so many bytes: Postgres makes all rows that are asked for, also those
/// that do not fit. A piece that is full may have left rows out, so the next piece asks for half as many.
fn rows_that_fit(rows: u32, bytes: usize) -> u32 {
    let fitting = if bytes < PIECE_BYTES {
        // As many as have seven eighths of a piece, since the next rows may be longer.
        u64::from(rows) * (PIECE_BYTES / 8 * 7) as u64 / (bytes.max(1) as u64)
    } else {
        u64::from(rows / 2)
    };
    u32::try_from(fitting).unwrap_or(PIECE_ROWS).clamp(FEW_ROWS, PIECE_ROWS)
}

/// Answers with the whole list. If it does not fit the first piece, it is streamed, and takes one of the caller's
/// shares of streams.
pub(crate) async fn whole(mut list: impl Pieces, caller: &Caller) -> Result<Response, ApiError> {
    let mut first = String::new();
    if list.piece(FIRST_PIECE_ROWS, &mut first).await? {
        return Ok(json_text(StatusCode::OK, first));
    }
    // Whoever has room for it may need the turn for its next piece.
    caller.give_back_turn().await;
    let share = caller.stream(list.bytes()).await?;
    let held = share.hold(first.len()).await;
    let rows = rows_that_fit(FIRST_PIECE_ROWS, first.len());
    let rest = stream::try_unfold((Some(list), share, held, rows), async |(list, share, held, rows)| {
        // The piece before this one is sent.
        drop(held);
        let Some(mut list) = list else { return Ok(None) };
        let mut piece = String::new();
        let turn = share.turn().await;
        let is_last = list.piece(rows, &mut piece).await?;
        let held = share.hold(piece.len()).await;
        drop(turn);
        let rows = rows_that_fit(rows, piece.len());
        Ok::<_, Interruption>(Some((Bytes::from(piece), ((!is_last).then_some(list), share, held, rows))))
    });
    let first = stream::iter([Ok(Bytes::from(first))]);
    let body = Interruption::body(first.chain(rest), caller.primary());
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

#[cfg(test)]
mod tests {
    use super::{FEW_ROWS, PIECE_BYTES, PIECE_ROWS, rows_that_fit};

    #[test]
    fn a_piece_asks_for_no_more_rows_than_fit() {
        for row_bytes in [1, 100, 500, 1_600, 4_000] {
            let mut rows = FEW_ROWS;
            for _ in 0..8 {
                rows = rows_that_fit(rows, rows as usize * row_bytes);
                assert!(rows as usize * row_bytes <= PIECE_BYTES, "{rows} rows of {row_bytes} bytes");
            }
            let room = PIECE_BYTES / row_bytes;
            assert!(rows == PIECE_ROWS || rows as usize > room * 3 / 4, "{rows} rows of {row_bytes} bytes");
        }
    }

    #[test]
    fn after_a_full_piece_fewer_rows_are_asked_for() {
        assert_eq!(rows_that_fit(PIECE_ROWS, PIECE_BYTES), PIECE_ROWS / 2);
        assert_eq!(rows_that_fit(FEW_ROWS, 10 * PIECE_BYTES), FEW_ROWS);
    }
}
