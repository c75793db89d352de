//! Who may see an identity. Contract, section 4. Admins only, decided before anything is looked up (D7).

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use identity_domain::identity::Command as IdentityCommand;
use identity_domain::{Command, Event, identity};
use identity_log::{Committed, ids};
use identity_projections::visibility::{self, AccessRow};
use uuid::Uuid;

use super::json_text;
use crate::caller::{Admin, Caller, Segments, uuid_segment};
use crate::error::ApiError;
use crate::form::{Body, Form, uuid};

/// `GET …/access`: the rows, oldest first.
pub(crate) async fn list_access(
    Admin(caller): Admin,
    Segments(handle): Segments<String>,
) -> Result<Response, ApiError> {
    let target = caller.find(&handle).await?;
    let rows = visibility::list(caller.pool(), target.id).await?;
    Ok(json_text(StatusCode::OK, format!("[{}]", rows.join(","))))
}

/// `POST …/access`: 201 with the row; the row that is there already when the wildcard is granted again (D4).
pub(crate) async fn grant_access(
    Admin(caller): Admin,
    Segments(handle): Segments<String>,
    body: Body,
) -> Result<Response, ApiError> {
    let target = caller.find(&handle).await?;
    let mut form = Form::parse(&body)?;
    let viewer = form.lenient("viewer_identity_id", uuid);
    form.finish(Some(()))?;
    let access_id = ids::mint();
    let command = match viewer {
        Some(viewer) => IdentityCommand::GrantVisibility { access_id, viewer },
        None => IdentityCommand::OpenVisibility { access_id },
    };
    let committed = caller.append(target.id, Command::Identity(command)).await?;
    let row = match new_row(&committed) {
        Some(row) => row.document(target.id)?,
        None => present_row(&caller, target.id).await?,
    };
    Ok(json_text(StatusCode::CREATED, row))
}

fn new_row(committed: &Committed) -> Option<AccessRow> {
    let recorded = committed.events.first()?;
    let (access_id, viewer_id) = match &recorded.event {
        Event::Identity(identity::Event::VisibilityGranted { grant }) => {
            (grant.access_id, Some(grant.viewer_identity_id))
        }
        Event::Identity(identity::Event::VisibilityOpened { access_id }) => (*access_id, None),
        _ => return None,
    };
    Some(AccessRow {
        access_id,
        viewer_id,
        organization_id: recorded.organization_id.clone(),
        created_at: recorded.recorded_at,
    })
}

/// The wildcard row, unless somebody has just narrowed it; then the next attempt will make one.
async fn present_row(caller: &Caller, target: Uuid) -> Result<String, ApiError> {
    let rows = visibility::list(caller.pool(), target).await?;
    rows.into_iter().next().ok_or_else(ApiError::identity_not_found)
}

/// `DELETE …/access/{viewer_identity_id}`: 204.
pub(crate) async fn revoke_access(
    Admin(caller): Admin,
    Segments((handle, viewer)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let target = caller.find(&handle).await?;
    let viewer = uuid_segment("viewer_identity_id", &viewer)?;
    caller.append(target.id, Command::Identity(IdentityCommand::RevokeVisibility { viewer })).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
