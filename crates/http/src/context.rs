//! What surrounds every request: its id, its one log line, and the body of its error.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use identity_log::ids;

use crate::error::ApiError;
use crate::problem::{self, Form};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// No request takes longer: whoever waits that long is better told to come again.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);

/// What is known of a request while it is answered.
#[derive(Debug, Clone)]
pub struct Context {
    /// The client's `X-Request-Id` if it is sane, else one of ours.
    pub request_id: Arc<str>,
    /// Public id of the key that was presented, once it is known to be good.
    pub key_id: Arc<OnceLock<String>>,
}

/// Gives the request its [`Context`], renders an [`ApiError`] into the answer, and writes the log line.
pub async fn around(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let context = Context { request_id: request_id(request.headers()), key_id: Arc::default() };
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    request.extensions_mut().insert(context.clone());
    let form = Form::accepted(request.headers());
    let answer = tokio::time::timeout(LONGEST_REQUEST, next.run(request)).await;
    let response = answer.unwrap_or_else(|elapsed| ApiError::unavailable(&elapsed).into_response());
    let error = response.extensions().get::<Arc<ApiError>>().cloned();
    let mut response = match &error {
        Some(error) => problem::render(error, response, &context.request_id, form),
        None => response,
    };
    if let Ok(value) = HeaderValue::from_str(&context.request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let line = Line { context: &context, method: &method, route: route.as_deref(), started };
    line.write(response.status().as_u16(), error.as_deref());
    response
}

/// A client's id is taken when it is 1 to 128 visible ASCII characters: it goes into the log and into history.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let sane =
        given.filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()));
    sane.map_or_else(|| ids::mint().to_string().into(), Into::into)
}

struct Line<'a> {
    context: &'a Context,
    method: &'a Method,
    route: Option<&'a str>,
    started: Instant,
}

impl Line<'_> {
    /// A failure of ours is logged once, here, with its whole chain; the client gets the request id only.
    fn write(&self, status: u16, error: Option<&ApiError>) {
        let (request_id, method, route) =
            (&*self.context.request_id, self.method.as_str(), self.route.unwrap_or("-"));
        let key_id = self.context.key_id.get().map_or("-", String::as_str);
        let microseconds = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let code = error.map_or("-", ApiError::code);
        if let Some(cause) = error.and_then(ApiError::cause) {
            tracing::error!(method, route, status, microseconds, request_id, key_id, code, cause, "request");
        } else {
            tracing::info!(method, route, status, microseconds, request_id, key_id, code, "request");
        }
    }
}
