//! Lists of vault secrets, with their content or without.

use axum::response::Response;
use identity_projections::bodies::{VaultAccessRule, VaultSecret, VaultSecretDetail};
use identity_projections::identities::Viewer;
use identity_projections::identities::listing::ListPlace;
use identity_projections::vault_secrets::shown::{self, Filter, ShownSecret};
use sqlx::PgPool;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::routes::interruption::Interruption;
use crate::routes::pieces::{self, Entries, PIECE_BYTES};

/// Answers with all secrets that the caller may use, newest first, between these texts.
pub(super) async fn answer(
    caller: &Caller,
    filter: Filter,
    before: String,
    behind: &'static str,
) -> Result<Response, ApiError> {
    let secrets = Secrets {
        pool: caller.pool().await.clone(),
        organization_id: caller.organization_id().to_owned(),
        viewer: caller.viewer(),
        filter,
        after: None,
    };
    pieces::list(secrets, before, behind, caller).await
}

/// Secrets that are being read.
struct Secrets {
    pool: PgPool,
    organization_id: String,
    viewer: Viewer,
    filter: Filter,
    after: Option<ListPlace>,
}

impl Entries for Secrets {
    async fn next(&mut self, limit: u32) -> Result<(Vec<String>, bool), Interruption> {
        let Self { pool, organization_id, viewer, filter, after } = self;
        let (secrets, is_last) =
            shown::next(&*pool, organization_id, viewer, *filter, *after, limit, PIECE_BYTES).await?;
        *after = secrets.last().map(ShownSecret::place);
        let text = |secret: &ShownSecret| {
            if filter.with_content {
                serde_json::to_string(&detail(secret))
            } else {
                serde_json::to_string(&without_content(secret))
            }
        };
        Ok((secrets.iter().map(text).collect::<Result<_, _>>()?, is_last))
    }
}

/// The body of a secret with its content.
pub(super) fn detail(secret: &ShownSecret) -> VaultSecretDetail<'_> {
    VaultSecretDetail { secret: without_content(secret), encrypted_payload: secret.content.as_deref() }
}

fn without_content(secret: &ShownSecret) -> VaultSecret<'_> {
    VaultSecret::of(&secret.row, secret.rules.iter().map(VaultAccessRule::from).collect())
}
