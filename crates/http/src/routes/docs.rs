//! What the service says of itself: the OpenAPI document, and a page to read it and to try it out. Everything the page
//! needs is in the binary, so it works without a network, and nothing that is not may run in it.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::json_text;
use crate::openapi;

/// Scripts, styles and connections of our own, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /openapi.json`.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "Operation",
    summary = "This document",
    description = "",
    operation_id = "docs_openapi",
    responses((status = 200, description = "It", body = Object, content_type = "application/json")),
    extensions(("x-about" = json!({"key": "none", "parameters": [], "errors": []}))),
)]
pub(crate) async fn openapi() -> Response {
    json_text(StatusCode::OK, openapi::document().to_owned())
}

/// `GET /docs`.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "Operation",
    summary = "A page to read this document and to try it out",
    description = "",
    operation_id = "docs_page",
    responses((status = 200, description = "It", body = String, content_type = "text/html; charset=utf-8")),
    extensions(("x-about" = json!({"key": "none", "parameters": [], "errors": []}))),
)]
pub(crate) async fn page() -> Response {
    asset("text/html; charset=utf-8", include_str!("docs/page.html"))
}

/// `GET /docs/page.js`.
#[utoipa::path(
    get,
    path = "/docs/page.js",
    tag = "Operation",
    summary = "The script of the page",
    description = "",
    operation_id = "docs_script",
    responses((status = 200, description = "It", body = String, content_type = "text/javascript; charset=utf-8")),
    extensions(("x-about" = json!({"key": "none", "parameters": [], "errors": []}))),
)]
pub(crate) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("docs/page.js"))
}

/// `GET /docs/page.css`.
#[utoipa::path(
    get,
    path = "/docs/page.css",
    tag = "Operation",
    summary = "The style of the page",
    description = "",
    operation_id = "docs_style",
    responses((status = 200, description = "It", body = String, content_type = "text/css; charset=utf-8")),
    extensions(("x-about" = json!({"key": "none", "parameters": [], "errors": []}))),
)]
pub(crate) async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("docs/page.css"))
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}
