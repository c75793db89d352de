//! What belongs to an identity and is stored with it: lists of tunnels and mailboxes, newest first, and answers to
//! writes. An agent sees its own.

use axum::http::StatusCode;
use axum::response::Response;
use identity_log::Committed;
use identity_projections::identities::listing::{self, ListPlace};
use identity_projections::identities::{Row, Viewer};
use serde::Serialize;
use sqlx::PgPool;

use super::interruption::Interruption;
use super::pieces::{self, Pieces};
use crate::caller::{Caller, KeyCheck};
use crate::error::ApiError;
use crate::reply::{Answer, Reply, made};

/// How a list is written: the text before and after its entries, and the entry of each identity.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListShape {
    pub(super) before: &'static str,
    pub(super) behind: &'static str,
    pub(super) write: fn(Row) -> Result<String, serde_json::Error>,
}

/// A list that is being written.
struct List {
    key: KeyCheck,
    pool: PgPool,
    organization_id: String,
    viewer: Viewer,
    shape: ListShape,
    after: Option<ListPlace>,
}

/// Answers with the whole list.
pub(super) async fn list(caller: &Caller, shape: ListShape) -> Result<Response, ApiError> {
    let list = List {
        key: caller.key_check(),
        pool: caller.pool().await.clone(),
        organization_id: caller.organization_id().to_owned(),
        viewer: caller.viewer(),
        shape,
        after: None,
    };
    pieces::whole(list, caller).await
}

impl Pieces for List {
    async fn piece(&mut self, limit: u32, body: &mut String) -> Result<bool, Interruption> {
        let Self { key, pool, organization_id, viewer, shape, after } = self;
        let (rows, is_last) =
            listing::owners(pool, organization_id, viewer, *after, limit, pieces::PIECE_BYTES).await?;
        Interruption::unless_valid(key).await?;
        body.push_str(if after.is_none() { shape.before } else { "" });
        for row in rows {
            body.push_str(if after.is_none() { "" } else { "," });
            *after = Some(ListPlace { created_at: row.created_at, id: row.document.id });
            body.push_str(&(shape.write)(row)?);
        }
        body.push_str(if is_last { shape.behind } else { "" });
        Ok(is_last)
    }
}

/// Answers with what belongs to an identity. `body` makes the body from the identity's row after the write.
pub(super) struct PartReply<B> {
    pub(super) status: StatusCode,
    pub(super) body: fn(Row, &Committed) -> Result<B, ApiError>,
}

impl<B: Serialize + 'static> Reply for PartReply<B> {
    fn compose(&self, committed: &Committed) -> Result<Answer, ApiError> {
        let owner = made(committed)?.clone();
        Answer::json(self.status, &(self.body)(owner, committed)?)
    }
}
