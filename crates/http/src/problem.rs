//! The body of an error: `detail` as clients of the hosted API know it (contract, section 0.5), and beside it those
//! members of RFC 9457 that do not collide with it; or the form of RFC 9457 alone, if the client asks for it.

use axum::body::Body as HttpBody;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::accept;
use crate::code::Code;
use crate::error::ApiError;
use crate::error::detail::Detail;
use crate::fault::Fault;

/// The form in which a client wants its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorForm {
    /// As published clients know it.
    Known,
    /// RFC 9457.
    Problem,
}

const JSON: &str = "application/json";
const PROBLEM_JSON: &str = "application/problem+json";

impl ErrorForm {
    /// The form that the client accepts: RFC 9457 if it names `application/problem+json` and gives no greater weight to
    /// `application/json`. A client that gives both the same weight accepts JSON for answers that are no errors.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        match accept::weight_of_range(headers, PROBLEM_JSON) {
            Some(weight) if weight > 0.0 && weight >= accept::weight(headers, JSON) => Self::Problem,
            _ => Self::Known,
        }
    }
}

/// An error.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct KnownError<'a> {
    detail: &'a Detail,
    #[serde(flatten)]
    common: Common<'a>,
}

/// An error by RFC 9457.
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem<'a> {
    /// A sentence. Further fields are in `context` and `errors`.
    detail: &'a str,
    /// The faults of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a [Fault]>,
    /// The object that belongs to the code.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a Value>,
    #[serde(flatten)]
    common: Common<'a>,
}

#[derive(Serialize, ToSchema)]
struct Common<'a> {
    /// Always `about:blank`, which makes `title` the phrase of the status.
    r#type: &'static str,
    /// The status in words.
    title: &'a str,
    /// The status.
    status: u16,
    /// The code by which a program should decide.
    code: Code,
    /// The id of the request, which is also in the log.
    request_id: &'a str,
}

/// Fills an answer. Headers that were set on the way (`Allow`) stay.
pub(crate) fn render(error: &ApiError, response: Response, request_id: &str, form: ErrorForm) -> Response {
    let status = error.status();
    let common = Common {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        code: error.code(),
        request_id,
    };
    let (body, content_type) = match form {
        ErrorForm::Known => (serde_json::to_string(&KnownError { detail: error.detail(), common }), JSON),
        ErrorForm::Problem => (serde_json::to_string(&problem(error.detail(), common)), PROBLEM_JSON),
    };
    let (mut parts, _) = response.into_parts();
    parts.status = status;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    parts.headers.extend(error.headers());
    // Serializing text and numbers cannot fail. Even an empty body would have the status.
    accept::negotiated(Response::from_parts(parts, HttpBody::from(body.unwrap_or_default())))
}

fn problem<'a>(detail: &'a Detail, common: Common<'a>) -> Problem<'a> {
    let (errors, context) = match detail {
        Detail::Text(_) => (None, None),
        Detail::Coded(object) => (None, Some(object)),
        Detail::Faults(faults) => (Some(faults.as_slice()), None),
    };
    Problem { detail: detail.sentence(), errors, context, common }
}
