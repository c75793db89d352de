//! Dedicated iMessage numbers. There are none (D24). Contract, section 10.3.

use axum::http::StatusCode;
use axum::response::Response;
use identity_projections::bodies::ImessageNumber;
use serde_json::json;

use super::identity_forms::ImessageNumberType;
use super::json as answer;
use crate::caller::{Admin, AppSettings, Caller};
use crate::code::Code;
use crate::conditional::unless_known;
use crate::error::ApiError;
use crate::form::reader::read_choice;
use crate::form::{Form, ReadForm, Sent};
use crate::headers::IfNoneMatch;

/// List dedicated iMessage numbers
///
/// There are none yet, so the list is empty.
#[utoipa::path(get, path = "/api/v1/imessage/numbers", tag = "iMessage",
    responses((status = 200, description = "The numbers", body = Vec<ImessageNumber>)))]
pub(crate) async fn list_imessage_numbers(
    caller: Caller,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let none: [ImessageNumber; 0] = [];
    unless_known(&caller, &headers, async || answer(StatusCode::OK, &none)).await
}

/// Claim a dedicated iMessage number
///
/// There are none yet, so every claim is answered with 503.
#[utoipa::path(post, path = "/api/v1/imessage/numbers", tag = "iMessage",
    responses((status = 201, description = "The number", body = ImessageNumber)),
    extensions(("x-errors" = json!([Code::ImessageInventoryPending]))))]
pub(crate) async fn claim_imessage_number(
    Admin(caller): Admin,
    body: Sent<NumberClaim>,
) -> Result<Response, ApiError> {
    let NumberClaim { number_type } = body.read(caller.settings())?;
    Err(ApiError::imessage_inventory_pending(number_type.as_str()))
}

/// Body of `POST /imessage/numbers`.
#[derive(Debug)]
pub(crate) struct NumberClaim {
    number_type: ImessageNumberType,
}

impl ReadForm for NumberClaim {
    const NAME: &'static str = "ClaimImessageNumber";
    const EXAMPLE: &'static str = "{}";

    fn read(form: &mut Form, _: &AppSettings) -> Option<Self> {
        let types = || json!({ "type": "string", "enum": ["dedicated_inbound", "dedicated_outbound"] });
        let about = "Which kind; `dedicated_outbound` if absent: newer clients leave it out";
        let number_type = form.lenient("type", about, (read_choice, types));
        Some(Self { number_type: number_type.unwrap_or(ImessageNumberType::DedicatedOutbound) })
    }
}
