//! How a write is answered: with what it made, and with nothing that others made of that. The answer is composed from the
//! events of the write, from read models that stand at its version, or from history: inside the write's own transaction
//! when it must be kept for a repetition, after it otherwise.

use async_trait::async_trait;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use identity_log::idempotency::{Compose, Kept, NotComposed};
use identity_log::{Committed, Made};
use identity_projections::identities::{self, IdentityBody, Row, Viewer};
use identity_projections::past;
use serde::Serialize;
use sqlx::pool::MaybePoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use uuid::Uuid;

use crate::error::ApiError;
use crate::revision::{Revision, tagged};

/// What a write is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    status: StatusCode,
    body: String,
    /// None where it is the tag of the revision that the write has made.
    entity_tag: Option<String>,
    /// The identity as it is from now on, where that is known.
    shown: Option<NewBody>,
}

/// An identity as it is from a write on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewBody {
    pub(crate) handle: String,
    pub(crate) found: IdentityBody,
}

impl NewBody {
    /// What a write has made of an identity, with these access rows.
    pub(crate) fn with_access(row: &Row, access: String) -> Result<Self, ApiError> {
        let document = serde_json::to_string(&row.document)?;
        let (id, version, changed_at) = (row.document.id, row.version, row.changed_at);
        let found = IdentityBody { id, version, changed_at, document, access };
        Ok(Self { handle: row.document.agent_handle.clone(), found })
    }

    /// What a write has made of an identity, with the access rows that it had before, if nothing has changed them since.
    pub(crate) fn after(before: &IdentityBody, committed: &Committed) -> Result<Option<Self>, ApiError> {
        match made(committed).filter(|row| row.access_version <= before.version) {
            Some(row) => Self::with_access(row, before.access.clone()).map(Some),
            None => Ok(None),
        }
    }
}

/// The row of the identity that a write has changed.
pub(crate) fn made(committed: &Committed) -> Option<&Row> {
    committed.made.as_ref().and_then(Made::row)
}

impl Answer {
    /// 204, no body.
    pub(crate) fn nothing() -> Self {
        Self::text(StatusCode::NO_CONTENT, String::new())
    }

    /// A body whose JSON text is already there.
    pub(crate) fn text(status: StatusCode, body: String) -> Self {
        Self { status, body, entity_tag: None, shown: None }
    }

    /// A body in JSON.
    pub(crate) fn json<T: Serialize>(status: StatusCode, body: &T) -> Result<Self, ApiError> {
        Ok(Self::text(status, serde_json::to_string(body)?))
    }

    /// The whole identity that a write has made.
    pub(crate) fn identity(status: StatusCode, shown: NewBody) -> Self {
        let body = shown.found.body();
        let tag = Revision::from(&shown.found).tag_of(&body);
        Self { status, body, entity_tag: Some(tag), shown: Some(shown) }
    }

    /// The same answer, by which an identity is known as it is from now on.
    pub(crate) fn knowing(self, shown: Option<NewBody>) -> Self {
        Self { shown, ..self }
    }

    /// The identity as it is from now on, where that is known.
    pub(crate) fn shown(&self) -> Option<&NewBody> {
        self.shown.as_ref()
    }

    /// The body's text.
    pub(crate) fn body(&self) -> &str {
        &self.body
    }

    /// An identity as it was found.
    pub(crate) fn found(status: StatusCode, found: &IdentityBody) -> Self {
        let body = found.body();
        let tag = Revision::from(found).tag_of(&body);
        Self::text(status, body).with_tag(Some(tag))
    }

    /// The same answer with a tag of its own.
    pub(crate) fn with_tag(self, entity_tag: Option<String>) -> Self {
        Self { entity_tag, ..self }
    }

    /// The same answer, tagged with the revision that the write has made unless it has a tag.
    pub(crate) fn of_revision(mut self, revision: Revision) -> Self {
        self.entity_tag.get_or_insert_with(|| revision.tag());
        self
    }

    /// An answer as it was kept.
    pub(crate) fn kept(status: u16, body: String, entity_tag: Option<String>) -> Self {
        Self::text(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), body).with_tag(entity_tag)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Self { status, body, entity_tag, shown: _ } = self;
        let response = if status == StatusCode::NO_CONTENT {
            status.into_response()
        } else {
            (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
        };
        match entity_tag {
            Some(tag) => tagged(response, &tag),
            None => response,
        }
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

/// The identity that a write is about, for answers that show it.
pub(crate) struct Subject {
    pub(crate) organization_id: String,
    /// Who reads: it is shown.
    pub(crate) viewer: Viewer,
    pub(crate) id: Uuid,
}

impl Subject {
    /// What the write made of it: the row that the committer hands out, with access rows that are read. Only where others
    /// have changed who may see it by now, or have deleted it, its history says which access rows there were.
    pub(crate) async fn found(
        &self,
        mut source: Source<'_>,
        committed: &Committed,
    ) -> Result<IdentityBody, ApiError> {
        let Self { organization_id, viewer, id } = self;
        let (made, version) = (made(committed), committed.version);
        if let (Viewer::Agent(_), Some(row)) = (viewer, made) {
            return Ok(NewBody::with_access(row, String::new())?.found);
        }
        let mut connection = source.connect().await?;
        match (identities::find_by_id(&mut *connection, organization_id, viewer, *id).await?, made) {
            (Some(present), _) if present.body.version == version => Ok(present.body),
            (Some(present), Some(row)) if present.access_version <= version => {
                Ok(NewBody::with_access(row, present.body.access)?.found)
            }
            _ => past::find_by_id(&mut connection, organization_id, viewer, *id, version)
                .await?
                .ok_or_else(without_history),
        }
    }

    /// The same as its read model keeps it. A write that changed nothing is answered with what is there at present.
    pub(crate) async fn row(&self, mut source: Source<'_>, committed: &Committed) -> Result<Row, ApiError> {
        if let Some(row) = made(committed) {
            return Ok(row.clone());
        }
        let Self { organization_id, id, .. } = self;
        let mut connection = source.connect().await?;
        match identities::row(&mut *connection, organization_id, *id).await? {
            Some(present) => Ok(present),
            None => past::row(&mut connection, organization_id, *id, committed.version)
                .await?
                .ok_or_else(without_history),
        }
    }
}

fn without_history() -> ApiError {
    ApiError::internal("what was written is not in the history of its identity".to_owned())
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
pub(crate) struct Keeping<R> {
    pub(crate) reply: std::sync::Arc<R>,
    /// The aggregate that is written to.
    pub(crate) aggregate_id: Uuid,
}

#[async_trait]
impl<R: Reply> Compose for Keeping<R> {
    async fn compose(
        &self,
        connection: &mut PgConnection,
        committed: &Committed,
    ) -> Result<Kept, NotComposed> {
        let composed = self.reply.compose(Source::Transaction(connection), committed).await;
        let Answer { status, body, entity_tag: tag, shown: _ } = composed?;
        let revision = Revision::made(self.aggregate_id, committed);
        let entity_tag = tag.unwrap_or_else(|| revision.tag());
        Ok(Kept { status: status.as_u16(), body, entity_tag })
    }
}
