//! What happens to incoming calls of an identity, which is named by its id. Contract, section 10.3.
//!
//! This is the call handling of the identity's phone number. `/phone/numbers/{id}` shows and changes the same.

use axum::http::StatusCode;
use axum::response::Response;
use identity_domain::Command;
use identity_domain::identity::{Command as IdentityCommand, PhoneChange};
use identity_log::Committed;
use identity_projections::bodies::IncomingCalls;
use identity_projections::document::PhoneNumber;
use identity_projections::identities::{self, Row};
use uuid::Uuid;

use super::owned;
use super::phone_forms::{CALL_ACTION, call_change};
use crate::caller::{AppSettings, Caller};
use crate::code::Code;
use crate::conditional::unless_current;
use crate::error::ApiError;
use crate::fault::{Complaint, Fault};
use crate::form::reader::{choice, uuid};
use crate::form::{Form, ReadForm, Sent};
use crate::headers::{IfMatch, IfNoneMatch};
use crate::parameters::{Parameters, Query, ReadQuery, id};
use crate::precondition::expected_version;

/// Get the incoming-call action
///
/// The identity must have a phone number. An agent may ask only for its own.
#[utoipa::path(get, path = "/api/v1/phone/incoming-call-action", tag = "Phone numbers",
    responses((status = 200, description = "The call handling", body = IncomingCalls)),
    extensions(("x-errors" = json!([Code::IdentityNotFound, Code::PhoneNumberNotFound]))))]
pub(crate) async fn get_incoming_call_action(
    caller: Caller,
    query: Query<OwnerQuery>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let OwnerQuery(wanted) = query.read()?;
    let missing = || Fault::parameter(OWNER, Complaint::new("missing", "Parameter required"));
    let (owner, phone) = find(&caller, wanted, missing).await?;
    let body = serde_json::to_string(&of(phone))?;
    Ok(unless_current(&headers, &owner, body))
}

/// Set what happens to incoming calls
///
/// The action is required; other absent fields stay unchanged. An agent may set only its own.
#[utoipa::path(put, path = "/api/v1/phone/incoming-call-action", tag = "Phone numbers",
    responses((status = 200, description = "The call handling", body = IncomingCalls)),
    extensions(("x-errors" = json!([Code::IdentityNotFound, Code::PhoneNumberNotFound]))))]
pub(crate) async fn set_incoming_call_action(
    caller: Caller,
    IfMatch(headers): IfMatch,
    body: Sent<SetForm>,
) -> Result<Response, ApiError> {
    let SetForm { wanted, change } = body.read(caller.settings())?;
    let missing = || Fault::value(OWNER, "Field required with an admin's API key");
    let (owner, phone) = find(&caller, wanted, missing).await?;
    let expected = expected_version(&headers, &owner)?;
    let owner_id = owner.document.id;
    let body = |owner: Row, _: &Committed| {
        owner.document.phone_number.map(of).ok_or_else(ApiError::phone_number_not_found)
    };
    let reply = owned::PartReply { status: StatusCode::OK, body };
    let command = IdentityCommand::ChangePhone(PhoneChange { phone_number_id: phone.id, ..change });
    caller.write(owner_id, Command::Identity(command), expected, reply).await
}

const OWNER: &str = "agent_identity_id";

/// The identity of a request, and its phone number. Without an id it is the agent itself.
async fn find(
    caller: &Caller,
    wanted: Option<Uuid>,
    missing: impl FnOnce() -> Fault,
) -> Result<(Row, PhoneNumber), ApiError> {
    let own = caller.viewer().agent_id();
    let id = wanted.or(own).ok_or_else(|| ApiError::invalid(vec![missing()]))?;
    if own.is_some_and(|own| own != id) {
        return Err(ApiError::identity_not_found());
    }
    let owner = identities::row(caller.pool().await, caller.organization_id(), id).await?;
    let mut owner = owner.ok_or_else(ApiError::identity_not_found)?;
    let phone = owner.document.phone_number.take().ok_or_else(ApiError::phone_number_not_found)?;
    Ok((owner, phone))
}

fn of(phone: PhoneNumber) -> IncomingCalls {
    IncomingCalls { agent_identity_id: phone.agent_identity_id, calls: phone.calls }
}

/// The parameter that names the identity.
#[derive(Debug)]
pub(crate) struct OwnerQuery(Option<Uuid>);

impl ReadQuery for OwnerQuery {
    fn read(parameters: &mut Parameters) -> Self {
        let about = "The identity; an admin's key needs it, an agent's key may omit it";
        Self(parameters.one(OWNER, about, id()))
    }
}

/// Body of `PUT /phone/incoming-call-action`. Contract, section 10.3.
#[derive(Debug)]
pub(crate) struct SetForm {
    wanted: Option<Uuid>,
    change: PhoneChange,
}

impl ReadForm for SetForm {
    const NAME: &'static str = "SetIncomingCallAction";
    const EXAMPLE: &'static str = r#"{ "incoming_call_action": "forward", "forwarding_target_type": "phone", "forwarding_phone_number": "+12125550199" }"#;

    fn read(form: &mut Form, _: &AppSettings) -> Option<Self> {
        let about = "The identity; an admin's key needs it, an agent's key may omit it or send null";
        let wanted = form.lenient(OWNER, about, uuid());
        let action = form.required("incoming_call_action", CALL_ACTION, choice());
        Some(Self { wanted, change: call_change(form, Some(action?)) })
    }
}
