//! The documentation that the service serves: the OpenAPI document, and Swagger UI to read it and to try it out.
//! Everything the page needs is in the binary, so it works without a network. Its addresses are relative, so it works
//! behind a path prefix.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa_swagger_ui::{Config, SwaggerFile};

use crate::accept::accepts_gzip;
use crate::caller::Segments;
use crate::conditional::is_known;
use crate::error::ApiError;
use crate::headers::IfNoneMatch;
use crate::openapi::about::Document;
use crate::openapi::written::Written;
use crate::revision::tagged;

/// Allows scripts, styles and connections of this origin only. Swagger UI also needs the images that its style sheet
/// contains as `data:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Get the OpenAPI document
///
/// It is sent compressed with gzip to clients that accept that.
#[utoipa::path(get, path = "/openapi.json", tag = "Operation", operation_id = "docs_openapi",
    responses((status = 200, description = "The document", body = Object, content_type = "application/json")))]
pub(crate) async fn openapi(
    IfNoneMatch(headers): IfNoneMatch,
    Extension(Document(written)): Extension<Document>,
) -> Response {
    let Written { plain, gzip } = written();
    let gzip = gzip.as_ref().filter(|_| accepts_gzip(&headers));
    let tag = gzip.map_or(&plain.tag, |gzip| &gzip.tag);
    let mut response = if is_known(&headers, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // Not copied: clients without a key have no share of what is in memory.
        let body = gzip.map_or(plain.bytes.as_bytes(), |gzip| &gzip.bytes);
        ([(header::CONTENT_TYPE, "application/json")], Bytes::from_static(body)).into_response()
    };
    if gzip.is_some() && response.status() == StatusCode::OK {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    tagged(response, tag)
}

/// Get the page to read the OpenAPI document and to try it out
#[utoipa::path(get, path = "/docs", tag = "Operation", operation_id = "docs_page",
    responses((status = 200, description = "The page", body = String, content_type = "text/html; charset=utf-8")))]
pub(crate) async fn page() -> Response {
    served("text/html; charset=utf-8", include_str!("docs/page.html"))
}

/// The files of the page.
pub(crate) async fn asset(Segments(file): Segments<String>) -> Result<Response, ApiError> {
    match file.as_str() {
        "page.css" => Ok(served("text/css; charset=utf-8", include_str!("docs/page.css"))),
        "swagger-ui.css"
        | "swagger-ui-bundle.js"
        | "swagger-ui-standalone-preset.js"
        | "swagger-initializer.js" => of_swagger_ui(&file),
        _ => Err(ApiError::unknown_route()),
    }
}

/// A file of Swagger UI. Most of them are stored compressed, and sent so: every browser accepts gzip.
fn of_swagger_ui(name: &str) -> Result<Response, ApiError> {
    static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
        let config = Config::new(["openapi.json"])
            .use_base_layout()
            .deep_linking(true)
            .filter(true)
            .display_request_duration(true)
            .try_it_out_enabled(true)
            .persist_authorization(false);
        Arc::new(config)
    });
    let file = utoipa_swagger_ui::serve(name, Arc::clone(&CONFIG));
    let file = file.map_err(|error| ApiError::internal(error.to_string()))?;
    let SwaggerFile { bytes, content_type, gzpipped, .. } = file.ok_or_else(ApiError::unknown_route)?;
    let bytes = match bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let mut response = served(&content_type, bytes);
    if gzpipped {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

fn served(content_type: &str, body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, body.into()).into_response()
}
