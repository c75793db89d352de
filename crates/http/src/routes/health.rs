//! Probes for operators. They need no key and show no data of any organization.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use serde::Serialize;
use utoipa::ToSchema;

use super::json;
use crate::caller::App;
use crate::code::Code;
use crate::error::ApiError;

/// The answer of a probe that succeeds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

/// Check that the process answers
#[utoipa::path(get, path = "/healthz", tag = "Operation",
    responses((status = 200, description = "It succeeds", body = Health)))]
pub(crate) async fn healthz() -> Result<Response, ApiError> {
    json(StatusCode::OK, &Health { status: "ok" })
}

/// Check that the database answers
///
/// It also has to take writes, and to have the tables of this software in their present shape; 503 with the reason
/// otherwise.
#[utoipa::path(get, path = "/readyz", tag = "Operation",
    responses((status = 200, description = "It succeeds", body = Health)),
    extensions(("x-errors" = json!([Code::NotReady, Code::Preparing]))))]
pub(crate) async fn readyz(State(app): State<App>) -> Result<Response, ApiError> {
    app.must_be_ready()?;
    app.probe().await.map_err(|error| ApiError::not_ready(&error))?;
    json(StatusCode::OK, &Health { status: "ready" })
}
