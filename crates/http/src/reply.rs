//! How a write is answered. The answer is composed from what was committed and from the read models as they stand
//! then: inside the write's own transaction when it must be kept for a repetition, after it otherwise.

use async_trait::async_trait;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use identity_log::Committed;
use identity_log::idempotency::{Compose, Kept};
use serde::Serialize;
use sqlx::pool::MaybePoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};

use crate::error::ApiError;

/// What a write is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    status: StatusCode,
    body: String,
}

impl Answer {
    /// 204, no body.
    pub(crate) fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: String::new() }
    }

    /// A body whose JSON text is already there.
    pub(crate) fn text(status: StatusCode, body: String) -> Self {
        Self { status, body }
    }

    /// A body in JSON.
    pub(crate) fn json<T: Serialize>(status: StatusCode, body: &T) -> Result<Self, ApiError> {
        Ok(Self { status, body: serde_json::to_string(body)? })
    }

    /// The body's text.
    pub(crate) fn body(&self) -> &str {
        &self.body
    }

    /// An answer as it was kept.
    pub(crate) fn kept(status: u16, body: String) -> Self {
        Self { status: StatusCode::from_u16(status).unwrap_or(StatusCode::OK), body }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        if self.status == StatusCode::NO_CONTENT {
            return self.status.into_response();
        }
        (self.status, [(header::CONTENT_TYPE, "application/json")], self.body).into_response()
    }
}

/// Where a reply reads from, if it has to: the write's own transaction, or any connection after it.
pub(crate) enum Source<'a> {
    /// The transaction.
    Transaction(&'a mut PgConnection),
    /// A connection that is taken when it is needed.
    Pool(&'a PgPool),
}

impl Source<'_> {
    /// A connection to read from.
    pub(crate) async fn connect(&mut self) -> Result<MaybePoolConnection<'_, Postgres>, sqlx::Error> {
        match self {
            Self::Transaction(connection) => Ok(MaybePoolConnection::Connection(&mut **connection)),
            Self::Pool(pool) => Ok(MaybePoolConnection::PoolConnection(pool.acquire().await?)),
        }
    }
}

/// Composes the answer to a write.
#[async_trait]
pub(crate) trait Reply: Send + Sync + 'static {
    /// The answer to what was committed.
    async fn compose(&self, source: Source<'_>, committed: &Committed) -> Result<Answer, ApiError>;

    /// What the first caller, and nobody who repeats the request, is told beyond that.
    fn reveal(&self, answer: Answer) -> Result<Answer, ApiError> {
        Ok(answer)
    }
}

/// The answer of writes that say nothing but that they are done.
#[derive(Debug)]
pub(crate) struct Done;

#[async_trait]
impl Reply for Done {
    async fn compose(&self, _: Source<'_>, _: &Committed) -> Result<Answer, ApiError> {
        Ok(Answer::nothing())
    }
}

/// A [`Reply`] as the log keeps it.
pub(crate) struct Keeping<R>(pub(crate) std::sync::Arc<R>);

#[async_trait]
impl<R: Reply> Compose for Keeping<R> {
    async fn compose(
        &self,
        connection: &mut PgConnection,
        committed: &Committed,
    ) -> Result<Kept, Box<dyn std::error::Error + Send + Sync>> {
        let Answer { status, body } = self.0.compose(Source::Transaction(connection), committed).await?;
        Ok(Kept { status: status.as_u16(), body })
    }
}
