//! Access to identities: who may see which. Contract, section 4. Only admins; that is checked before anything is looked
//! up (D7).

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use identity_domain::Command;
use identity_domain::identity::Command as IdentityCommand;
use identity_log::{Committed, ShownAccess, ids};
use identity_projections::identities::{IdentityBody, Row};
use identity_projections::visibility::{self, AccessDocument};
use uuid::Uuid;

use super::json_text;
use crate::caller::{Admin, AppSettings, Segments, uuid_segment};
use crate::code::Code;
use crate::conditional::unless_known;
use crate::error::ApiError;
use crate::form::reader::uuid;
use crate::form::{Form, ReadForm, Sent};
use crate::found::Found;
use crate::headers::{IfMatch, IfNoneMatch};
use crate::precondition::expected_version;
use crate::reply::{Answer, Done, NewBody, Reply, access_after, made};

/// List who may see an identity
///
/// Oldest first.
#[utoipa::path(get, path = "/api/v1/identities/{agent_handle}/access", tag = "Visibility",
    responses((status = 200, description = "The rows", body = Vec<AccessDocument>)),
    extensions(("x-errors" = json!([Code::IdentityNotFound]))))]
pub(crate) async fn list_access(
    Admin(caller): Admin,
    Segments(handle): Segments<String>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let target = caller.find(&handle).await?;
    unless_known(&caller, &headers, async || {
        let rows = visibility::list(caller.pool().await, target.id).await?;
        Ok(json_text(StatusCode::OK, format!("[{}]", rows.join(","))))
    })
    .await
}

/// Grant access to an identity
///
/// For one viewer, or for everybody. If everybody may see the identity already, the answer is the existing row.
#[utoipa::path(post, path = "/api/v1/identities/{agent_handle}/access", tag = "Visibility",
    responses((status = 201, description = "The row", body = AccessDocument)),
    extensions(("x-errors" = json!([Code::IdentityNotFound, Code::ViewerNotFound, Code::AccessAlreadyGranted,
        Code::RedundantGrant]))))]
pub(crate) async fn grant_access(
    Admin(caller): Admin,
    Segments(handle): Segments<String>,
    IfMatch(headers): IfMatch,
    body: Sent<GrantForm>,
) -> Result<Response, ApiError> {
    let target = caller.find(&handle).await?;
    let GrantForm { viewer } = body.read(caller.settings())?;
    let expected = expected_version(&headers, &*target)?;
    let access_id = ids::mint();
    let command = match viewer {
        Some(viewer) => IdentityCommand::GrantVisibility { access_id, viewer },
        None => IdentityCommand::OpenVisibility { access_id },
    };
    let id = target.id;
    let reply = AccessReply { is_for_everybody: viewer.is_none(), before: target };
    caller.write(id, Command::Identity(command), expected, reply).await
}

/// Body of `POST …/access`. Contract, section 4.2.
#[derive(Debug)]
pub(crate) struct GrantForm {
    viewer: Option<Uuid>,
}

impl ReadForm for GrantForm {
    const NAME: &'static str = "GrantAccess";
    const EXAMPLE: &'static str = r#"{ "viewer_identity_id": null }"#;

    fn read(form: &mut Form, _: &AppSettings) -> Option<Self> {
        let about = "Who may see; everybody if null or absent";
        Some(Self { viewer: form.lenient("viewer_identity_id", about, uuid()) })
    }
}

/// Answers with the new row, or with the wildcard row that is there already.
struct AccessReply {
    is_for_everybody: bool,
    before: Arc<Found>,
}

impl Reply for AccessReply {
    fn compose(&self, committed: &Committed) -> Result<Answer, ApiError> {
        let IdentityBody { id, version, access, .. } = &**self.before;
        let granted = committed.events.first().map(|event| visibility::granted(event, *id, access));
        let Some((document, access)) = granted.transpose()?.flatten() else {
            // A grant without an event means that everybody may see the identity already. Then the wildcard row is its
            // only access row.
            return Ok(Answer::text(StatusCode::CREATED, access_after(&self.before, committed)?));
        };
        // The rows are all rows only if nobody else has changed the identity since they were read.
        let row = Some(made::<Row>(committed)?).filter(|row| row.version == version + 1);
        let shown = row.map(|row| NewBody::with_access(row, access)).transpose()?;
        Ok(Answer::text(StatusCode::CREATED, document).knowing(shown))
    }

    fn shown_access(&self) -> ShownAccess {
        // The wildcard row is shown. It is there already, or somebody else makes it before this write.
        if self.is_for_everybody { ShownAccess::ChangedAfter(self.before.version) } else { ShownAccess::None }
    }
}

/// Revoke access to an identity
///
/// If everybody may see the identity, everybody except this viewer may see it from then on.
#[utoipa::path(delete, path = "/api/v1/identities/{agent_handle}/access/{viewer_identity_id}", tag = "Visibility",
    responses((status = 204, description = "Done")),
    extensions(("x-errors" = json!([Code::IdentityNotFound, Code::ViewerNotFound, Code::AccessNotFound]))))]
pub(crate) async fn revoke_access(
    Admin(caller): Admin,
    Segments((handle, viewer)): Segments<(String, String)>,
    IfMatch(headers): IfMatch,
) -> Result<Response, ApiError> {
    let target = caller.find(&handle).await?;
    let viewer = uuid_segment("viewer_identity_id", &viewer)?;
    let expected = expected_version(&headers, &*target)?;
    let command = IdentityCommand::RevokeVisibility { viewer };
    caller.write(target.id, Command::Identity(command), expected, Done).await
}
