//! Optional layers around the routes: compression and CORS.

use anyhow::{Context as _, ensure};
use std::sync::Arc;
use std::thread::available_parallelism;

use axum::Router;
use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::map_response;
use axum::response::Response;
use identity_http::around;
use tokio::sync::Semaphore;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};
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

/// In an answer that has its turn to be compressed.
#[derive(Clone, Copy)]
struct HasTurn;

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

    /// The routes for a request. For a client that does not accept gzip the layer of compression is left out. So it is for what
    /// everybody may ask for without a key: to compress takes time, which nobody would have to account for.
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

/// Whether a client accepts gzip. RFC 9110, section 12.5.3.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    let codings = lines.iter().flat_map(|line| line.split(',')).map(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters.trim().trim_start_matches("q=").trim_start_matches("Q=");
        (name.trim(), parameters.trim().is_empty() || weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    });
    let codings: Vec<(&str, bool)> = codings.collect();
    let accepts = |wanted: &str| {
        codings.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, accepted)| *accepted)
    };
    accepts("gzip").or_else(|| accepts("x-gzip")).or_else(|| accepts("*")).unwrap_or(false)
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

/// Routes whose answers are compressed. Half of the processors do that; what comes while they are busy is sent as it is.
fn compressing(plain: &Router) -> Router {
    let processors = available_parallelism().map_or(1, usize::from);
    let turns = Arc::new(Semaphore::new(processors.div_ceil(2)));
    let has_turn = |_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions| {
        extensions.get::<HasTurn>().is_some()
    };
    plain
        .clone()
        .layer(map_response(move |response| {
            let given = with_turn(response, &turns);
            async { given }
        }))
        .layer(CompressionLayer::new().gzip(true).compress_when(has_turn))
        .layer(map_response(async |response| weaken_tag(response)))
}

/// An answer with its turn to be compressed, if that is worth it and there is one. Server-sent events and NDJSON are not compressed,
/// since their lines should arrive at once.
fn with_turn(response: Response, turns: &Arc<Semaphore>) -> Response {
    let is_worth_it = SizeAbove::new(MIN_COMPRESSED_BYTES)
        .and(NotForContentType::SSE)
        .and(NotForContentType::const_new("application/x-ndjson"));
    if !is_worth_it.should_compress(&response) {
        return response;
    }
    let Ok(turn) = Arc::clone(turns).try_acquire_owned() else { return response };
    let mut response = response.map(|body| around::keeping(turn, body));
    response.extensions_mut().insert(HasTurn);
    response
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
