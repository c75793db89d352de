//! The metrics of requests. Counting allocates only for the first answer of each route.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use axum::extract::MatchedPath;
use axum::http::Method;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of the latency histogram, in seconds: reads take about a millisecond, writes a few, and nothing takes
/// longer than the time limit.
const SECONDS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Counters of requests. Cheap to clone; clones share their counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<Answered, Counter>,
    durations: Family<Asked, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    refused_keys: Counter,
    keys: Lookups,
    identities: Lookups,
}

/// Counters of lookups of one kind in the cache.
#[derive(Debug, Clone)]
struct Lookups {
    hits: Counter,
    misses: Counter,
}

/// The kind of a lookup in the cache.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A key.
    Key,
    /// An identity.
    Identity,
}

/// A lookup in the cache: what was looked up, and whether it was there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lookup {
    kind: &'static str,
    outcome: &'static str,
}

/// The labels of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: Route,
    status: u16,
}

/// The labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    route: Route,
}

/// A route as the route table spells it. So the label has as many values as the table has routes, and contains no name
/// and no id.
#[derive(Clone)]
pub(crate) struct Route(Option<MatchedPath>);

impl Route {
    pub(crate) fn new(matched: Option<&MatchedPath>) -> Self {
        Self(matched.cloned())
    }

    /// The route; `-` for a path that is not served.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_ref().map_or("-", MatchedPath::as_str)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.as_str().encode(encoder)
    }
}

/// A request that is being answered, until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    gauge: Gauge,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Lookups {
    /// The counters of a kind in a family. They are looked up there once.
    fn of(kind: &'static str, family: &Family<Lookup, Counter>) -> Self {
        let counter = |outcome| family.get_or_create_owned(&Lookup { kind, outcome });
        Self { hits: counter("hit"), misses: counter("miss") }
    }
}

impl Metrics {
    /// Counters that `registry` shows.
    pub fn new(registry: &mut Registry) -> Self {
        let cache_lookups = Family::default();
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            in_flight: Gauge::default(),
            refused_keys: Counter::default(),
            keys: Lookups::of("key", &cache_lookups),
            identities: Lookups::of("identity", &cache_lookups),
        };
        let Self { requests, durations, in_flight, refused_keys, .. } = &metrics;
        registry.register("http_requests", "Requests that were answered", requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time from the end of a request's headers to its answer",
            durations.clone(),
        );
        registry.register("http_requests_in_flight", "Requests being answered", in_flight.clone());
        registry.register(
            "http_refused_keys",
            "Requests whose API key opens nothing; those without a key are not counted",
            refused_keys.clone(),
        );
        registry.register(
            "cache_lookups",
            "Keys and identities that were looked for in memory before the database was asked",
            cache_lookups,
        );
        metrics
    }

    /// Counts a request until the returned value is dropped.
    pub(crate) fn begin(&self) -> InFlight {
        let gauge = self.in_flight.clone();
        gauge.inc();
        InFlight { gauge }
    }

    /// Counts a lookup in the cache.
    pub(crate) fn looked_up(&self, kind: Kind, hit: bool) {
        let lookups = match kind {
            Kind::Key => &self.keys,
            Kind::Identity => &self.identities,
        };
        if hit { &lookups.hits } else { &lookups.misses }.inc();
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, method: &Method, route: &Route, status: u16, duration: Duration) {
        let (method, route) = (name(method), route.clone());
        let asked = Asked { method, route };
        self.durations.get_or_create(&asked).observe(duration.as_secs_f64());
        let Asked { method, route } = asked;
        self.requests.get_or_create(&Answered { method, route, status }).inc();
    }

    /// Counts an invalid key.
    pub(crate) fn refused_key(&self) {
        self.refused_keys.inc();
    }
}

/// Clients may invent methods, and each would be a series of its own.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
