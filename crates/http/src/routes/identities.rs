//! Identities. Contract, sections 2 and 3.

mod list;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use identity_domain::Command;
use identity_domain::identity::Command as IdentityCommand;
use identity_log::{Committed, ShownAccess};
use identity_projections::identities::{self, Identity, Viewer};
use identity_projections::vault_access;

use super::identity_forms::{CreateForm, ImessageNumber, UpdateForm, is_for_admins};
use super::past;
use crate::caller::{Admin, AdminAfterLookup, Caller, Holder, Segments, is_large};
use crate::code::Code;
use crate::conditional::{unless_found_before, unless_known};
use crate::error::ApiError;
use crate::fault::Fault;
use crate::form::Sent;
use crate::found::Found;
use crate::headers::{IfMatch, IfNoneMatch};
use crate::parameters::{DescribeQuery, Parameters, Query};
use crate::precondition::expected_version;
use crate::reply::{Answer, Done, NewBody, Reply, made};

/// Create an identity
///
/// With its mailbox and its tunnel, and with a phone number if one is wanted: all of it or nothing.
#[utoipa::path(post, path = "/api/v1/identities", tag = "Identities",
    responses((status = 201, description = "The identity", body = Identity)),
    extensions(("x-errors" = json!([Code::AgentHandleUnavailable, Code::NoPhoneNumberAvailable,
        Code::VaultSecretNotFound, Code::ImessageInventoryPending]))))]
pub(crate) async fn create_identity(
    Admin(caller): Admin,
    body: Sent<CreateForm>,
) -> Result<Response, ApiError> {
    let form = body.read(caller.settings())?;
    if let Some(number) = form.imessage_number {
        return Err(ApiError::imessage_inventory_pending(number.as_str()));
    }
    let id = form.create.id;
    let command = IdentityCommand::Create(Box::new(form.create));
    let mut attempt = caller.begin_create(body.bytes(), id);
    match caller.write(id, Command::Identity(command), None, Created).await {
        Err(unknown) if unknown.code() == Code::OutcomeUnknown => Err(unknown),
        Err(taken) if taken.code() == Code::AgentHandleUnavailable => {
            attempt.end();
            made_before(&caller, body.bytes()).await?.ok_or(taken)
        }
        known => {
            attempt.end();
            known
        }
    }
}

/// The answer to a create that was sent before and answered 503, if one of its attempts was carried out.
async fn made_before(caller: &Caller, body: &[u8]) -> Result<Option<Response>, ApiError> {
    for id in caller.unconfirmed_creates(body) {
        let (pool, organization_id) = (caller.pool().await, caller.organization_id());
        if let Some(found) = identities::find_by_id(pool, organization_id, &caller.viewer(), id).await? {
            return Ok(Some(Answer::found(StatusCode::CREATED, &Found::of(found)).into_response()));
        }
    }
    Ok(None)
}

/// Answers with the new identity.
struct Created;

impl Reply for Created {
    fn compose(&self, committed: &Committed) -> Result<Answer, ApiError> {
        let shown = NewBody::with_access(made(committed)?, String::new())?;
        Ok(Answer::found(StatusCode::CREATED, &shown.found))
    }
}

/// List identities
///
/// Newest first. Without parameters the whole list; with `limit` or `cursor` a page, and the next in the header `Link`. With
/// `as_of`, every identity that there was at that moment.
#[utoipa::path(get, path = "/api/v1/identities", tag = "Identities",
    responses((status = 200, description = "The identities", body = Vec<Identity>)),
    extensions(("x-errors" = json!([Code::Forbidden, Code::BeforeHistory]))))]
pub(crate) async fn list_identities(
    holder: Holder,
    query: Query<ListQuery>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    if let Some(asked) = past::asked(query.parameters(), &list::PARAMETERS) {
        return past::list(holder.historian()?, asked).await;
    }
    let caller = holder.caller()?;
    let wanted = list::Request::read(&query, &caller)?;
    unless_known(&caller, &headers, async || list::answer(wanted, &caller).await).await
}

/// The parameters of the list: filters and pages of the present, or a moment of the past.
#[derive(Debug)]
pub(crate) struct ListQuery;

impl DescribeQuery for ListQuery {
    fn describe(parameters: &mut Parameters) {
        list::Filters::read(parameters, |_| None);
        past::moment_of_list(parameters);
    }
}

/// Get an identity
///
/// An identity that the key may not see is answered 404. With `as_of`, the identity that had the handle at that moment.
#[utoipa::path(get, path = "/api/v1/identities/{agent_handle}", tag = "Identities",
    responses((status = 200, description = "The identity", body = Identity)),
    extensions(("x-errors" = json!([Code::Forbidden, Code::IdentityNotFound, Code::BeforeHistory]))))]
pub(crate) async fn get_identity(
    holder: Holder,
    Segments(handle): Segments<String>,
    query: Query<past::AsOf>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    if let Some(asked) = past::asked(query.parameters(), &[]) {
        return past::get(holder.historian()?, asked, &handle).await;
    }
    let caller = holder.caller()?;
    let found = caller.find(&handle).await?;
    Ok(unless_found_before(&headers, &found))
}

/// Change an identity
///
/// Absent fields stay unchanged. An agent may change only itself.
#[utoipa::path(patch, path = "/api/v1/identities/{agent_handle}", tag = "Identities",
    responses((status = 200, description = "The whole identity, changed or not", body = Identity)),
    extensions(("x-errors" = json!([Code::IdentityNotFound, Code::ImessageNumberNotFound,
        Code::AgentHandleUnavailable, Code::ImessageInventoryPending]))))]
pub(crate) async fn update_identity(
    caller: Caller,
    Segments(handle): Segments<String>,
    IfMatch(headers): IfMatch,
    body: Sent<UpdateForm>,
) -> Result<Response, ApiError> {
    let found = caller.find_own(&handle).await?;
    let form = body.read_if(caller.settings(), |form| {
        if is_for_admins(form) {
            caller.admins_only("Changing filter modes, status or numbers")
        } else {
            Ok(())
        }
    })?;
    match form.imessage_number {
        Some(ImessageNumber::Owned(_)) => return Err(ApiError::imessage_number_not_found()),
        Some(ImessageNumber::Claimed(_)) if !headers.contains_key("idempotency-key") => {
            return Err(ApiError::invalid(vec![Fault::header("idempotency-key")]));
        }
        Some(ImessageNumber::Claimed(kind)) => {
            return Err(ApiError::imessage_inventory_pending(kind.as_str()));
        }
        None => {}
    }
    let expected = expected_version(&headers, &*found)?;
    caller.admission().expect_answer(found.bytes())?;
    let command = IdentityCommand::Update(Box::new(form.update));
    let id = found.id;
    let reply = Updated { viewer: caller.viewer(), before: found };
    caller.write(id, Command::Identity(command), expected, reply).await
}

/// Answers with the whole identity.
struct Updated {
    viewer: Viewer,
    before: Arc<Found>,
}

impl Reply for Updated {
    fn compose(&self, committed: &Committed) -> Result<Answer, ApiError> {
        Ok(Answer::identity(StatusCode::OK, NewBody::after(&self.before, committed)?))
    }

    fn shown_access(&self) -> ShownAccess {
        match self.viewer {
            Viewer::Agent(_) => ShownAccess::None,
            // One of the viewers may be deleted before the write, which is no change of this identity. If there are hundreds of
            // viewers, the answer may show that one all the same: others would wait while all of them are read again.
            Viewer::Admin if self.before.names_viewers() && !is_large(self.before.bytes()) => {
                ShownAccess::All
            }
            Viewer::Admin => ShownAccess::ChangedAfter(self.before.version),
        }
    }
}

/// Delete an identity
///
/// With everything that belongs to it; its names stay reserved for a while. An agent may not delete identities: it is
/// answered 403 for an identity that it sees, and 404 for any other.
#[utoipa::path(delete, path = "/api/v1/identities/{agent_handle}", tag = "Identities",
    responses((status = 204, description = "Done")),
    extensions(("x-errors" = json!([Code::IdentityNotFound]))))]
pub(crate) async fn delete_identity(
    caller: AdminAfterLookup,
    Segments(handle): Segments<String>,
    IfMatch(headers): IfMatch,
) -> Result<Response, ApiError> {
    let found = caller.looking().find(&handle).await?;
    let caller = caller.admin("Deleting an identity")?;
    let expected = expected_version(&headers, &*found)?;
    let rules = vault_access::count_of(caller.pool().await, found.id).await?;
    caller.deletes_rows(rules);
    caller.write(found.id, Command::Identity(IdentityCommand::Delete), expected, Done).await
}
