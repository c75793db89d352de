//! The answer to a write: it shows the state right after that write, without what others have written since.
//!
//! It is composed of what the committer hands out: the events of the write, the row that they have made, and the access rows as
//! they are after the write. Nothing is read for it after the write. What was read before the write is shown only where the
//! committer hands out nothing else: access rows that have not changed since, and the access rules of a vault secret. If the answer
//! is stored for repetitions, it is composed in the transaction of the write, otherwise after it.

use std::any::Any;
use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use identity_log::idempotency::{Compose, Kept, NotComposed};
use identity_log::{Committed, ShownAccess};
use identity_projections::identities::{IdentityBody, Row};
use identity_projections::visibility::{self, Rows};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::ApiError;
use crate::found::Found;
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
    pub(crate) found: Found,
}

impl NewBody {
    /// The body from the row that a write has made, with these access rows.
    pub(crate) fn with_access(row: &Row, access: String) -> Result<Self, ApiError> {
        let document = row.document_text()?.to_owned();
        let (id, version, changed_at) = (row.document.id, row.version, row.changed_at);
        let found = Found::of(IdentityBody { id, version, changed_at, document, access });
        Ok(Self { handle: row.document.agent_handle.clone(), found })
    }

    /// The body from the row that a write has made, with the access rows as they are after the write. `before` is what the caller
    /// was shown before: its access rows are still the right ones if the committer hands out none.
    pub(crate) fn after(before: &IdentityBody, committed: &Committed) -> Result<Self, ApiError> {
        Self::with_access(made(committed)?, access_after(before, committed)?)
    }
}

/// The row of the aggregate after a write.
pub(crate) fn made<T: Any>(committed: &Committed) -> Result<&T, ApiError> {
    let without_row = || ApiError::internal("an aggregate has no row after a write".to_owned());
    committed.made.get().ok_or_else(without_row)
}

/// The access rows of an identity after a write.
pub(crate) fn access_after(before: &IdentityBody, committed: &Committed) -> Result<String, ApiError> {
    match committed.made.get::<Arc<Rows>>() {
        Some(rows) => Ok(visibility::text(rows, before.id)?),
        None => Ok(before.access.clone()),
    }
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
        Self::found(status, &shown.found).knowing(Some(shown))
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
    pub(crate) fn found(status: StatusCode, found: &Found) -> Self {
        Self::text(status, found.body()).with_tag(Some(found.tag()))
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

/// Composes the answer to a write.
pub(crate) trait Reply: Send + Sync + 'static {
    /// Composes the answer to the write `committed`.
    fn compose(&self, committed: &Committed) -> Result<Answer, ApiError>;

    /// Which access rows of the identity the answer shows.
    fn shown_access(&self) -> ShownAccess {
        ShownAccess::None
    }

    /// Adds what only the first answer has, and no answer to a repetition: the text of a new key.
    fn reveal(&self, answer: Answer) -> Result<Answer, ApiError> {
        Ok(answer)
    }
}

/// Answers 204.
#[derive(Debug)]
pub(crate) struct Done;

impl Reply for Done {
    fn compose(&self, _: &Committed) -> Result<Answer, ApiError> {
        Ok(Answer::nothing())
    }
}

/// Composes a [`Reply`] in the transaction of the write, and the log stores it for repetitions.
pub(crate) struct Keeping<R> {
    pub(crate) reply: Arc<R>,
    /// The aggregate of the write.
    pub(crate) aggregate_id: Uuid,
}

impl<R: Reply> Compose for Keeping<R> {
    fn compose(&self, committed: &Committed) -> Result<Kept, NotComposed> {
        let Answer { status, body, entity_tag: tag, shown: _ } = self.reply.compose(committed)?;
        let revision = Revision::made(self.aggregate_id, committed);
        let entity_tag = tag.unwrap_or_else(|| revision.tag());
        Ok(Kept { status: status.as_u16(), body, entity_tag })
    }
}
