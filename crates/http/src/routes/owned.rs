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
use super::pieces::{self, Entries};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::reply::{Answer, Reply, made};

/// How a list is written: the text before and after its entries, and the entry of each identity.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListShape {
    pub(super) before: &'static str,
    pub(super) behind: &'static str,
    pub(super) write: fn(Row) -> Result<String, serde_json::Error>,
}

/// What is owned, while it is read.
struct Owned {
    pool: PgPool,
    organization_id: String,
    viewer: Viewer,
    write: fn(Row) -> Result<String, serde_json::Error>,
    after: Option<ListPlace>,
}

/// Answers with the whole list.
pub(super) async fn list(caller: &Caller, shape: ListShape) -> Result<Response, ApiError> {
    let ListShape { before, behind, write } = shape;
    let owned = Owned {
        pool: caller.pool().await.clone(),
        organization_id: caller.organization_id().to_owned(),
        viewer: caller.viewer(),
        write,
        after: None,
    };
    pieces::list(owned, before.to_owned(), behind, caller).await
}

impl Entries for Owned {
    async fn next(&mut self, limit: u32) -> Result<(Vec<String>, bool), Interruption> {
        let Self { pool, organization_id, viewer, write, after } = self;
        let (rows, is_last) =
            listing::owners(pool, organization_id, viewer, *after, limit, pieces::PIECE_BYTES).await?;
        *after = rows.last().map(|row| ListPlace { created_at: row.created_at, id: row.document.id });
        Ok((rows.into_iter().map(*write).collect::<Result<_, _>>()?, is_last))
    }
}

/// Answers with what belongs to an identity. `body` makes the body from the identity's row after the write.
pub(super) struct PartReply<B> {
    pub(super) status: StatusCode,
    pub(super) body: fn(Row, &Committed) -> Result<B, ApiError>,
}

impl<B: Serialize + 'static> Reply for PartReply<B> {
    fn compose(&self, committed: &Committed) -> Result<Answer, ApiError> {
        let owner = made::<Row>(committed)?.clone();
        Answer::json(self.status, &(self.body)(owner, committed)?)
    }
}
