//! The middleware around every request: its id, its time limit, its one log line, and the body of its error.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody as _};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use identity_log::Fate;
use tracing::Span;

use crate::caller::App;
use crate::context::{Context, REQUEST_ID, request_id};
use crate::error::ApiError;
use crate::metrics::{InFlight, Route};
use crate::problem::{self, ErrorForm};

/// The status in the log line of a request whose client closed the connection before the answer.
const CLIENT_GONE: u16 = 499;

/// Gives the request its [`Context`], renders an [`ApiError`] into the answer, counts it and writes the log line.
pub(crate) async fn every_request(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let mut line = Line::begin(&app, &request);
    let context = line.context.clone();
    request.extensions_mut().insert(context.clone());
    let form = ErrorForm::accepted(request.headers());
    let is_keyed = needs_key(request.uri());
    let answer = app.primary().unless_silent(next.run(request));
    let response = match tokio::time::timeout(app.settings().longest_request, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(silent)) => out_of_time(&context.fate, &silent).into_response(),
        Err(elapsed) => out_of_time(&context.fate, &elapsed).into_response(),
    };
    context.turn.give_back().await;
    drop(context.share.take());
    let response = hold_until_sent(&app, &context, response);
    let error = response.extensions().get::<Arc<ApiError>>().cloned();
    let response = match &error {
        Some(error) => problem::render(error, response, &context.request_id, form),
        None => response,
    };
    let mut response = named(response, &context.request_id);
    if is_keyed {
        keep_from_caches(response.headers_mut());
    }
    if let Some(standing) = context.standing.get() {
        standing.write(response.headers_mut());
    }
    line.status = response.status().as_u16();
    line.error = error;
    response
}

/// Whether everything below this address needs a key.
pub fn needs_key(uri: &Uri) -> bool {
    uri.path().starts_with("/api")
}

/// Lets a large answer that is in memory as a whole keep a share, so that a client that does not read it cannot have any number of
/// them. The answer to a write that was carried out is never withheld: a write whose answer can be large takes its share before.
fn hold_until_sent(app: &App, context: &Context, response: Response) -> Response {
    let taken = context.answer.take();
    let size = response.body().size_hint().exact().unwrap_or(0);
    let Some(holder) = context.holder.get() else { return response };
    let share = match taken {
        Some(share) => Ok(Some(share)),
        None => app.take_answer(&holder.key, usize::try_from(size).unwrap_or(usize::MAX)),
    };
    match share {
        Ok(Some(share)) => response.map(|body| keeping(share, body)),
        Err(error) if context.fate.abandon() => error.into_response(),
        Ok(None) | Err(_) => response,
    }
}

/// A body that keeps something until it is sent, or its client is gone.
pub fn keeping(kept: impl Send + 'static, body: Body) -> Body {
    Body::new(body.map_err(move |error| {
        let _kept = &kept;
        error
    }))
}

/// The answer to a request that took too long, or whose database does not answer. Its command is abandoned, unless it
/// was sent to Postgres already.
fn out_of_time(fate: &Fate, why: &(dyn std::error::Error + 'static)) -> ApiError {
    if fate.abandon() { ApiError::unavailable(why) } else { ApiError::outcome_unknown(why) }
}

/// The answer to a method that is not served, for routes that a server adds to those of the API.
pub fn method_not_allowed(headers: &HeaderMap) -> Response {
    refusal(&ApiError::method_not_allowed(), headers)
}

/// The answer to a request of HTTP/1.1 that does not have one `Host`.
pub fn host_required(headers: &HeaderMap) -> Response {
    let mut response = refusal(&ApiError::host_required(), headers);
    keep_from_caches(response.headers_mut());
    response
}

fn refusal(error: &ApiError, headers: &HeaderMap) -> Response {
    let request_id = request_id(headers);
    let rendered = problem::render(error, Response::default(), &request_id, ErrorForm::accepted(headers));
    named(rendered, &request_id)
}

/// Forbids HTTP caches to store an answer to a key, or to give it to another key. RFC 9111, section 5.2.2.5.
fn keep_from_caches(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let mut varies = b"x-api-key".to_vec();
    for other in headers.get_all(header::VARY) {
        varies.extend_from_slice(b", ");
        varies.extend_from_slice(other.as_bytes());
    }
    if let Ok(varies) = HeaderValue::from_bytes(&varies) {
        headers.insert(header::VARY, varies);
    }
}

fn named(mut response: Response, request_id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The log line and the metrics of a request. Both are written when this is dropped, so a request whose client closed
/// the connection has them, too.
struct Line {
    context: Context,
    method: Method,
    route: Route,
    started: Instant,
    status: u16,
    error: Option<Arc<ApiError>>,
    app: App,
    _in_flight: InFlight,
}

impl Line {
    fn begin(app: &App, request: &Request) -> Self {
        Self {
            context: Context::new(request),
            method: request.method().clone(),
            route: Route::new(request.extensions().get::<MatchedPath>()),
            started: Instant::now(),
            status: CLIENT_GONE,
            error: None,
            app: app.clone(),
            _in_flight: app.metrics().begin(),
        }
    }

    /// A failure of the service is logged once, here, with all its causes. The client gets the request id only.
    fn write(&self, duration: Duration) {
        let (request_id, method, route) =
            (&*self.context.request_id, self.method.as_str(), self.route.as_str());
        let holder = self.context.holder.get();
        let (organization_id, key_id) =
            holder.map_or(("-", "-"), |holder| (&*holder.key.organization_id, &*holder.key_id));
        let client = self.context.client.map(|client| client.to_string());
        let client = client.as_deref();
        let status = self.status;
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let code = self.error.as_ref().map_or("-", |error| error.code().as_str());
        self.trace(organization_id, key_id);
        if let Some(cause) = self.error.as_ref().and_then(|error| error.cause()) {
            tracing::error!(
                method,
                route,
                status,
                microseconds,
                request_id,
                organization_id,
                key_id,
                client,
                code,
                cause,
                "request"
            );
        } else {
            tracing::info!(
                method,
                route,
                status,
                microseconds,
                request_id,
                organization_id,
                key_id,
                client,
                code,
                "request"
            );
        }
    }
}

impl Line {
    /// Writes the same into the span of the request, if there is one.
    fn trace(&self, organization_id: &str, key_id: &str) {
        let span = Span::current();
        if span.is_disabled() {
            return;
        }
        let (method, route) = (self.method.as_str(), self.route.as_str());
        span.record("otel.name", format_args!("{method} {route}"));
        span.record("http.route", route);
        span.record("http.response.status_code", self.status);
        span.record("identityd.request_id", &*self.context.request_id);
        span.record("identityd.organization_id", organization_id);
        span.record("identityd.key_id", key_id);
        if self.status >= 500 {
            span.record("otel.status_code", "ERROR");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        self.app.metrics().answered(&self.method, &self.route, self.status, duration);
        self.write(duration);
    }
}
