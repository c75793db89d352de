//! The answer to a write: it shows the state right after that write, without what others have written since.
//!
//! It is composed from the row that the write made, from read models that are still at the version of the write, or from
//! history. If it must be stored for repetitions, it is composed in the transaction of the write, otherwise after it.

use async_trait::async_trait;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use identity_log::idempotency::{Compose, Kept, NotComposed};
use identity_log::{Committed, Made};
use identity_projections::identities::{self, IdentityBody, Row, Viewer};
use identity_projections::past;
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::pool::MaybePoolConnection;
use sqlx::{PgConnection, Postgres};
use uuid::Uuid;

use crate::database::Database;
use crate::error::ApiError;
use crate::revision::{Revision, tagged};

/// The answer to a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    status: StatusCode,
    body: String,
    /// `None` if it is the tag of the revision that the write has made.
    entity_tag: Option<String>,
    /// The body of the identity after the write, for the cache, if it is known.
    shown: Option<NewBody>,
}

/// The body of an identity after a write, which may go into the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewBody {
    pub(crate) handle: String,
    pub(crate) found: IdentityBody,
}

impl NewBody {
    /// The body from the row that a write has made, with these access rows.
    pub(crate) fn with_access(row: &Row, access: String) -> Result<Self, ApiError> {
        let document = serde_json::to_string(&row.document)?;
        let (id, version, changed_at) = (row.document.id, row.version, row.changed_at);
        let found = IdentityBody { id, version, changed_at, document, access };
        Ok(Self { handle: row.document.agent_handle.clone(), found })
    }

    /// The body from the row that a write has made, with the access rows of before. `None` if they may have changed.
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
    /// 204 without a body.
    pub(crate) fn nothing() -> Self {
        Self::text(StatusCode::NO_CONTENT, String::new())
    }

    /// A body that is JSON text already.
    pub(crate) fn text(status: StatusCode, body: String) -> Self {
        Self { status, body, entity_tag: None, shown: None }
    }

    /// A body in JSON.
    pub(crate) fn json<T: Serialize>(status: StatusCode, body: &T) -> Result<Self, ApiError> {
        Ok(Self::text(status, serde_json::to_string(body)?))
    }

    /// The identity after a write.
    pub(crate) fn identity(status: StatusCode, shown: NewBody) -> Self {
        let body = shown.found.body();
        let tag = Revision::from(&shown.found).tag_of(&body);
        Self { status, body, entity_tag: Some(tag), shown: Some(shown) }
    }

    /// The same answer with this body for the cache.
    pub(crate) fn knowing(self, shown: Option<NewBody>) -> Self {
        Self { shown, ..self }
    }

    /// The body for the cache, if it is known.
    pub(crate) fn shown(&self) -> Option<&NewBody> {
        self.shown.as_ref()
    }

    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body's text.
    pub(crate) fn body(&self) -> &str {
        &self.body
    }

    /// An identity that was read, with its tag.
    pub(crate) fn found(status: StatusCode, found: &IdentityBody) -> Self {
        let body = found.body();
        let tag = Revision::from(found).tag_of(&body);
        Self::text(status, body).with_tag(Some(tag))
    }

    /// The same answer with a text that is shown once, in place of the message to a repetition. Without a message there is
    /// no such text, and the answer stays as it is.
    pub(crate) fn revealing(self, member: &str, text: &str) -> Result<Self, ApiError> {
        let mut body: Map<String, Value> = serde_json::from_str(&self.body)?;
        if body.remove("message").is_none() {
            return Ok(self);
        }
        body.insert(member.to_owned(), text.into());
        Self::json(self.status, &body)
    }

    /// The same answer with this tag.
    pub(crate) fn with_tag(self, entity_tag: Option<String>) -> Self {
        Self { entity_tag, ..self }
    }

    /// The same answer with the tag of this revision, unless it has a tag already.
    pub(crate) fn of_revision(mut self, revision: Revision) -> Self {
        self.entity_tag.get_or_insert_with(|| revision.tag());
        self
    }

    /// An answer that was stored for repetitions.
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

/// The connection from which a reply reads, if it has to.
pub(crate) enum Source<'a> {
    /// The transaction of the write.
    Transaction(&'a mut PgConnection),
    /// Any connection, after the transaction. It is taken when it is needed.
    Database(&'a Database),
}

impl Source<'_> {
    /// A connection to read from.
    pub(crate) async fn connect(&mut self) -> Result<MaybePoolConnection<'_, Postgres>, sqlx::Error> {
        match self {
            Self::Transaction(connection) => Ok(MaybePoolConnection::Connection(&mut **connection)),
            Self::Database(database) => {
                Ok(MaybePoolConnection::PoolConnection(database.pool().await.acquire().await?))
            }
        }
    }
}

/// The identity of a write, for answers that show it.
pub(crate) struct Subject {
    pub(crate) organization_id: String,
    /// The view in which the caller is shown the identity.
    pub(crate) viewer: Viewer,
    pub(crate) id: Uuid,
}

impl Subject {
    /// The identity after the write: the row that the committer hands out, with access rows that are read. If others have
    /// changed the access rows since, or have deleted the identity, it is read from history.
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

    /// The row of the identity after the write. For a write that changed nothing it is the present row.
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
pub(crate) trait Reply: Send + Sync + 'static {
    /// Composes the answer to the write `committed`.
    fn compose(
        &self,
        source: Source<'_>,
        committed: &Committed,
    ) -> impl Future<Output = Result<Answer, ApiError>> + Send;

    /// Adds what only the first answer has, and no answer to a repetition: the text of a new key.
    fn reveal(&self, answer: Answer) -> Result<Answer, ApiError> {
        Ok(answer)
    }
}

/// Answers 204.
#[derive(Debug)]
pub(crate) struct Done;

impl Reply for Done {
    async fn compose(&self, _: Source<'_>, _: &Committed) -> Result<Answer, ApiError> {
        Ok(Answer::nothing())
    }
}

/// Composes a [`Reply`] in the transaction of the write, and the log stores it for repetitions.
pub(crate) struct Keeping<R> {
    pub(crate) reply: std::sync::Arc<R>,
    /// The aggregate of the write.
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
