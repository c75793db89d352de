//! Probes, for whoever runs the service. They need no key and tell nothing of anybody.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::json_text;
use crate::caller::App;
use crate::error::ApiError;

/// `GET /healthz`: the process answers.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "Operation",
    summary = "The process answers",
    description = "",
    responses((status = 200, description = "It does", body = crate::openapi::schemas::Health)),
    extensions(("x-about" = json!({"key": "none", "parameters": [], "errors": []}))),
)]
pub(crate) async fn healthz() -> Response {
    json_text(StatusCode::OK, r#"{"status":"ok"}"#.to_owned())
}

/// `GET /readyz`: the database answers and holds our tables, in the shape of this software; 503 with the reason
/// otherwise.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "Operation",
    summary = "The database answers, too",
    description = "",
    responses((status = 200, description = "It does", body = crate::openapi::schemas::Health)),
    extensions(("x-about" = json!({"key": "none", "parameters": [], "errors": ["not_ready", "preparing"]}))),
)]
pub(crate) async fn readyz(State(app): State<App>) -> Result<Response, ApiError> {
    app.must_be_ready()?;
    app.probe().await.map_err(|error| ApiError::not_ready(&error))?;
    Ok(json_text(StatusCode::OK, r#"{"status":"ready"}"#.to_owned()))
}
