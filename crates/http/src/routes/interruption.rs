//! Answers that are written piece by piece, and why such an answer breaks off.

use std::error::Error;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::{Stream, TryStreamExt as _, stream};
use identity_log::primary::{Primary, Silent};
use identity_log::proof::{SignError, TreeError};
use identity_log::{ReadError, ReadModelFailure};
use identity_projections::finder::FindError;
use identity_projections::past::PastError;

use crate::caller::KeyCheck;
use crate::error::ApiError;

/// Why a stream breaks off in the middle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interruption {
    /// Events could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The database refused a query, or cannot be reached.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// The log could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The key could not be looked up.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The hash tree could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A stored row could not be read.
    #[error(transparent)]
    Row(#[from] ReadModelFailure),
    /// A body could not be serialized.
    #[error(transparent)]
    Write(#[from] serde_json::Error),
    /// An identity of the past could not be folded.
    #[error(transparent)]
    Past(#[from] PastError),
    /// The database does not answer.
    #[error(transparent)]
    Silent(#[from] Silent),
    /// What was read may be out of date: no standby confirms commits.
    #[error("no standby confirms commits: this may not be the primary any more")]
    Unconfirmed,
    /// The history is another one by now.
    #[error("the history is another one by now: a backup was restored, or a failover has lost events")]
    HistoryChanged,
    /// The key that opened the stream was revoked, or has expired.
    #[error("the key of a stream was revoked or has expired")]
    KeyEnded,
}

impl Interruption {
    /// Checks the key of a stream again, and returns how long it is still valid.
    pub(crate) async fn unless_valid(key: &KeyCheck) -> Result<Duration, Self> {
        key.remaining().await?.ok_or(Self::KeyEnded)
    }

    /// The body of an answer that is written piece by piece. It breaks off when the database falls silent, or may not be the
    /// primary any more.
    pub(crate) fn body<Piece: Into<Bytes> + Send + 'static>(
        pieces: impl Stream<Item = Result<Piece, Self>> + Send + 'static,
        primary: &Primary,
    ) -> Body {
        let pieces = (Box::pin(pieces), primary.clone());
        let pieces = stream::try_unfold(pieces, async |(mut pieces, primary)| {
            let piece = primary.unless_silent(pieces.try_next()).await??;
            if primary.may_be_stale() {
                return Err(Self::Unconfirmed);
            }
            Ok::<_, Self>(piece.map(|piece| (piece, (pieces, primary))))
        });
        Body::from_stream(pieces.inspect_err(Self::report))
    }

    /// Writes a log line. The status of the answer was sent before the failure, so the client cannot be told the
    /// reason.
    fn report(&self) {
        match self {
            Self::KeyEnded => tracing::info!("an answer was cut off: {self}"),
            error => tracing::error!(error = error as &dyn Error, "an answer was cut off in the middle"),
        }
    }
}

/// A failure before the first piece is sent is answered with a status.
impl From<Interruption> for ApiError {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Read(error) => error.into(),
            Interruption::Database(error) => error.into(),
            Interruption::Row(error) => error.into(),
            Interruption::Write(error) => error.into(),
            Interruption::Sign(error) => error.into(),
            Interruption::Find(error) => error.into(),
            Interruption::Tree(error) => error.into(),
            Interruption::Past(error) => error.into(),
            Interruption::Silent(silent) => Self::unavailable(&silent),
            unconfirmed @ Interruption::Unconfirmed => Self::unavailable(&unconfirmed),
            Interruption::HistoryChanged => Self::history_changed(),
            Interruption::KeyEnded => Self::unauthorized(),
        }
    }
}
