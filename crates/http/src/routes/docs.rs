//! The documentation that the service serves: the OpenAPI document, and Swagger UI to read it and to try it out.
//! Everything the page needs is in the binary, so it works without a network. Its addresses are relative, so it works
//! behind a path prefix.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa_swagger_ui::{Config, SwaggerFile};

use crate::caller::Segments;
use crate::error::ApiError;
use crate::openapi::about::Document;

/// Allows scripts, styles and connections of this origin only. Swagger UI also needs the images that its style sheet
/// contains as `data:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Get the OpenAPI document
#[utoipa::path(get, path = "/openapi.json", tag = "Operation", operation_id = "docs_openapi",
    responses((status = 200, description = "The document", body = Object, content_type = "application/json")))]
pub(crate) async fn openapi(Extension(Document(text)): Extension<Document>) -> Response {
    // Not copied: clients without a key have no share of what is in memory.
    let text = Bytes::from_static(text().as_bytes());
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
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
