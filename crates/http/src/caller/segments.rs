//! The variable segments of a path.

use axum::extract::FromRequestParts;
use axum::extract::path::Path;
use axum::http::request;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::app::App;
use crate::error::ApiError;
use crate::fault::Fault;

/// Segments of the path, percent-decoded. A path that cannot be decoded is answered like an unknown path.
#[derive(Debug)]
pub struct Segments<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Segments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, app: &App) -> Result<Self, ApiError> {
        let path = <Path<T> as FromRequestParts<App>>::from_request_parts(parts, app).await;
        path.map(|Path(segments)| Self(segments)).map_err(|_| ApiError::unknown_route())
    }
}

/// A segment of the path that must be a UUID. Contract, section 0.3.
pub(crate) fn uuid_segment(name: &str, text: &str) -> Result<Uuid, ApiError> {
    text.parse().map_err(|_| ApiError::invalid(vec![Fault::path(name, text)]))
}
