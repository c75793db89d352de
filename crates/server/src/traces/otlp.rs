//! Spans that are sent over OTLP, and joined to the client's own trace if it names one (W3C `traceparent`).
//!
//! Without a collector no span is made; that is one comparison for each request.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use axum::http::{HeaderMap, Method, Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// The target of the spans that are sent.
const TARGET: &str = "identityd::traces";

/// How long a collector may take.
const COLLECTOR_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer of a collector that is looked at, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The way to a collector.
#[derive(Debug, Clone)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// A way to the collector at this base URL, such as `http://localhost:4318`.
    pub fn to(endpoint: &str) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new()?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(COLLECTOR_TIMEOUT)
            .build()
            .context("the OTLP endpoint cannot be used")?;
        let service = Resource::builder().with_service_name("identityd").build();
        let provider = SdkTracerProvider::builder().with_resource(service).with_batch_exporter(exporter);
        Ok(Self(provider.build()))
    }

    /// The subscriber layer that sends the spans of requests.
    pub fn layer<S: tracing::Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let tracer = self.0.tracer("identityd");
        // A span that is begun at its end can still be given its name when its route is known.
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_context_activation(false)
            .with_tracked_inactivity(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false);
        layer.with_filter(filter_fn(|metadata| metadata.target() == TARGET))
    }

    /// Sends the spans that are left, and ends. Blocks until they are sent, for at most `COLLECTOR_TIMEOUT`.
    pub fn close(&self) {
        if let Err(error) = self.0.shutdown_with_timeout(COLLECTOR_TIMEOUT) {
            tracing::warn!(error = &error as &dyn std::error::Error, "traces were not sent");
        }
    }
}

/// The span of a request. The middleware around the handlers fills it in. Without a collector it is disabled.
pub(crate) fn span(method: &Method, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.kind = "server",
        otel.name = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
        http.request.method = method.as_str(),
        http.route = tracing::field::Empty,
        http.response.status_code = tracing::field::Empty,
        identityd.request_id = tracing::field::Empty,
        identityd.organization_id = tracing::field::Empty,
        identityd.key_id = tracing::field::Empty,
    );
    if !span.is_disabled() {
        let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        if parent.span().span_context().is_valid() {
            // This fails only for a span that is not collected, which needs no parent.
            drop(span.set_parent(parent));
        }
    }
    span
}

/// An HTTP client that sends on the runtime of the service, because the thread that batches spans has none.
#[derive(Debug)]
struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
}

impl Collector {
    fn new() -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(tokio_rustls::rustls::crypto::ring::default_provider())
            .context("TLS for the OTLP endpoint cannot be set up")?
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, runtime: Handle::try_current().context("traces need a runtime")? })
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let response = client.request(request.map(Full::new)).await?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?;
            Ok::<_, HttpError>(Response::from_parts(parts, body.to_bytes()))
        };
        self.runtime.spawn(async { tokio::time::timeout(COLLECTOR_TIMEOUT, exchange).await }).await??
    }
}
