//! What answers pass on their way out where an installation wants it: compression, and CORS.

use axum::Router;
use axum::http::{HeaderName, Method, header};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::settings::{Cors, WireSettings};

/// The least size in bytes at which compression is worth its time.
const WORTH_COMPRESSING: u64 = 1024;

/// How long a browser may remember what it was allowed, in seconds.
const PREFLIGHT_SECONDS: u64 = 3600;

/// The routes of a service, as clients meet them.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    plain: Router,
    /// The same for clients that take compressed answers, where there are such.
    compressing: Option<Router>,
}

impl Front {
    pub(crate) fn new(router: Router, settings: &WireSettings) -> Self {
        let plain = match cors(&settings.cors) {
            Some(cors) => router.layer(cors),
            None => router,
        };
        let compressing = settings.compression.then(|| plain.clone().layer(compression()));
        Self { plain, compressing }
    }

    /// Routes as they are.
    pub(crate) fn bare(router: Router) -> Self {
        Self { plain: router, compressing: None }
    }

    /// The routes for a request. Whoever does not ask for compression does not pay for it.
    pub(crate) fn router(&self, headers: &axum::http::HeaderMap) -> Router {
        match &self.compressing {
            Some(router) if headers.contains_key(header::ACCEPT_ENCODING) => router.clone(),
            _ => self.plain.clone(),
        }
    }
}

/// Streams whose lines are wanted as they come are left alone.
fn compression() -> CompressionLayer<impl tower_http::compression::Predicate + Send + Sync + 'static> {
    CompressionLayer::new().gzip(true).compress_when(
        SizeAbove::new(WORTH_COMPRESSING)
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
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
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
            named("ratelimit"),
            named("ratelimit-policy"),
            named("x-next-cursor"),
            named("x-request-id"),
        ])
        .max_age(std::time::Duration::from_secs(PREFLIGHT_SECONDS));
    Some(layer)
}
