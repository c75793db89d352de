//! The stand-in for traces in a binary without the feature `otlp`.

use axum::http::{HeaderMap, Method};
use tracing::Span;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Identity;
use tracing_subscriber::registry::LookupSpan;

/// The way to a collector, of which there is none.
#[derive(Debug, Clone, Copy)]
pub enum Traces {}

impl Traces {
    /// Fails, since this binary cannot send traces.
    pub fn to(_endpoint: &str) -> anyhow::Result<Self> {
        anyhow::bail!("this identityd was built without traces over OTLP (cargo feature `otlp`)")
    }

    /// A subscriber layer that does nothing.
    pub fn layer<S: tracing::Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        Identity::new()
    }

    /// Does nothing.
    pub const fn close(&self) {
        match *self {}
    }
}

/// The span of a request.
pub(crate) fn span(_method: &Method, _headers: &HeaderMap) -> Span {
    Span::none()
}
