//! Optional layers around the routes: compression and CORS.

use anyhow::{Context as _, ensure};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::available_parallelism;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::map_response;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use identity_http::{accepts_gzip, around};
use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// The least size in bytes at which compression is worth its time.
const MIN_COMPRESSED_BYTES: u64 = 1024;

/// How long a browser may cache the answer to a preflight request, in seconds.
const PREFLIGHT_CACHE_SECONDS: u64 = 3600;

/// The routes of the service with these layers.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    plain: Router,
    /// The same with compression, if that is on.
    compressing: Option<Router>,
}

impl Edge {
    pub(crate) fn new(router: Router, origins: &Cors, compresses: bool) -> Self {
        let plain = match cors(origins) {
            Some(cors) => router.layer(cors),
            None => router,
        };
        let compressing = compresses.then(|| compressing(&plain));
        Self { plain, compressing }
    }

    /// Routes as they are.
    pub(crate) fn bare(router: Router) -> Self {
        Self { plain: router, compressing: None }
    }

    /// The routes for a request. For a client that does not accept gzip the layer of compression is left out. Answers that need no
    /// key are not compressed either, because no limit counts them.
    ///
    /// `Accept-Encoding` is simplified to `gzip`: the compression layer would answer 406 where a client forbids the
    /// `identity` coding, after a write was carried out.
    pub(crate) fn router(&self, request: &mut Request) -> Router {
        let needs_key = around::needs_key(request.uri());
        let headers = request.headers_mut();
        match &self.compressing {
            Some(router) if needs_key && accepts_gzip(headers) => {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
                router.clone()
            }
            _ => self.plain.clone(),
        }
    }
}

/// A strong tag stands for the bytes before compression. RFC 9110, section 8.8.3.3.
fn weaken_tag(mut response: Response) -> Response {
    if response.headers().contains_key(header::CONTENT_ENCODING)
        && let Some(tag) = response.headers().get(header::ETAG)
        && tag.as_bytes().starts_with(b"\"")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        response.headers_mut().insert(header::ETAG, weak);
    }
    response
}

/// Routes whose answers are compressed. Half of the processors do that, piece by piece. The other half is left to other work.
fn compressing(plain: &Router) -> Router {
    let processors = available_parallelism().map_or(1, usize::from);
    let turns = PollSemaphore::new(Arc::new(Semaphore::new(processors.div_ceil(2))));
    plain.clone().layer(compression()).layer(map_response(move |response: Response| {
        let turns = turns.clone();
        async move {
            let is_compressed = response.headers().contains_key(header::CONTENT_ENCODING);
            if is_compressed {
                weaken_tag(response.map(|body| Body::new(InTurns { body, turns })))
            } else {
                response
            }
        }
    }))
}

/// A body each of whose pieces waits for its turn.
struct InTurns {
    body: Body,
    turns: PollSemaphore,
}

impl HttpBody for InTurns {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let _turn = ready!(self.turns.poll_acquire(context));
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Server-sent events and NDJSON are not compressed, since their lines should arrive at once.
fn compression() -> CompressionLayer<impl Predicate + Send + Sync + 'static> {
    CompressionLayer::new().gzip(true).compress_when(
        SizeAbove::new(MIN_COMPRESSED_BYTES)
            .and(NotForContentType::SSE)
            .and(NotForContentType::const_new("application/x-ndjson")),
    )
}

fn cors(origins: &Cors) -> Option<CorsLayer> {
    let origins = match origins {
        Cors::Of(origins) if origins.is_empty() => return None,
        Cors::Of(origins) => AllowOrigin::list(origins.clone()),
        Cors::Any => AllowOrigin::any(),
    };
    let named = HeaderName::from_static;
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::ACCEPT,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            named("idempotency-key"),
            named("last-event-id"),
            named("x-api-key"),
            named("x-request-id"),
        ])
        .expose_headers([
            header::ETAG,
            header::LINK,
            header::RETRY_AFTER,
            named("idempotent-replayed"),
            named("inkbox-notices"),
            named("ratelimit"),
            named("ratelimit-policy"),
            named("x-next-cursor"),
            named("x-request-id"),
        ])
        .max_age(std::time::Duration::from_secs(PREFLIGHT_CACHE_SECONDS));
    Some(layer)
}

/// Origins whose scripts may call the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cors {
    /// These origins. The list may be empty.
    Of(Vec<HeaderValue>),
    /// All.
    Any,
}

impl Cors {
    /// Reads the origins of a setting.
    pub(crate) fn parse(origins: &[String]) -> anyhow::Result<Self> {
        if origins.iter().any(|origin| origin == "*") {
            return Ok(Self::Any);
        }
        let origin = |origin: &String| {
            let bare = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            ensure!(
                bare.is_some_and(|host| !host.is_empty() && !host.contains('/')),
                "cors_origins has {origin:?}, which is no origin such as https://app.example"
            );
            HeaderValue::from_str(origin).with_context(|| format!("cors_origins has {origin:?}"))
        };
        origins.iter().map(origin).collect::<anyhow::Result<_>>().map(Self::Of)
    }
}
