//! One attempt: a POST to a receiver, and what it answered. Redirects are not followed.

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::Url;
use webpki_roots::TLS_SERVER_ROOTS;

use crate::address::{Policy, Refusal, Resolver};
use crate::connector::GuardedConnector;
use crate::schedule::Outcome;

/// How long an attempt may take, from the resolution of the name to the end of the answer.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of an answer is read and kept. What follows is not read: the connection is closed.
pub const MAX_ANSWER_BYTES: usize = 4096;

/// The most characters that are kept of why there was no answer. A certificate that is refused can name thousands of hosts.
const MAX_ERROR_CHARS: usize = 1024;

/// The longest head of an answer.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long a connection stays open for the next attempt.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How many of those stay open for one receiver.
const MAX_IDLE_CONNECTIONS: usize = 8;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("identityd/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What sends.
#[derive(Clone)]
pub struct Sender {
    client: Client<HttpsConnector<GuardedConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl fmt::Debug for Sender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sender")
    }
}

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("TLS for webhooks cannot be set up")]
pub struct SenderError(#[from] tokio_rustls::rustls::Error);

/// A URL of which no request can be made. None is saved.
#[derive(Debug, thiserror::Error)]
enum Unsendable {
    #[error(transparent)]
    Url(#[from] url::ParseError),
    #[error(transparent)]
    Request(#[from] hyper::http::Error),
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attempt {
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// How the answer begins, if there was one. What is no UTF-8 is replaced.
    pub body: Option<String>,
    /// Why there was none, or none that ended.
    pub error: Option<String>,
    /// What `Retry-After` of a 429 or 503 asks for.
    pub retry_after: Option<Duration>,
    /// How long it took.
    pub duration: Duration,
    /// Whether nothing was tried, since this service had no room to resolve the name.
    pub is_postponed: bool,
}

impl Attempt {
    /// What the answer means. Only 2xx is a success; an answer that did not end in time is none.
    pub fn outcome(&self) -> Outcome {
        match self.status {
            Some(200..300) if self.error.is_none() => Outcome::Delivered,
            Some(410) => Outcome::Gone,
            _ => Outcome::Failed { retry_after: self.retry_after },
        }
    }

    /// The message of the log about this attempt: `answered` if the receiver has answered, otherwise `unanswered`. Without an answer
    /// perhaps nothing was sent; `error` says why.
    pub(crate) const fn log_message(&self, answered: &'static str, unanswered: &'static str) -> &'static str {
        if self.status.is_some() { answered } else { unanswered }
    }

    pub(crate) fn failed(error: String) -> Self {
        Self { error: Some(error), ..Self::default() }
    }
}

impl Sender {
    /// A sender that trusts the certificate authorities that browsers trust, and these.
    pub fn new(
        policy: Policy,
        resolver: Arc<dyn Resolver>,
        timeout: Duration,
        authorities: &[CertificateDer<'static>],
    ) -> Result<Self, SenderError> {
        let mut roots = RootCertStore { roots: TLS_SERVER_ROOTS.to_vec() };
        for authority in authorities {
            roots.add(authority.clone())?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(connector.wrap_connector(GuardedConnector::new(policy, resolver)));
        Ok(Self { client, timeout })
    }

    /// Sends a body once, as JSON unless `headers` say otherwise. They are those of the signature, and what the receiver wants
    /// besides.
    pub async fn send(&self, url: &str, headers: HeaderMap, body: Bytes) -> Attempt {
        let began = Instant::now();
        let attempt = match request(url, headers, body) {
            Ok(request) => self.exchange(request).await,
            Err(error) => Attempt::failed(error.to_string()),
        };
        Attempt { duration: began.elapsed(), ..attempt }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Attempt {
        let deadline = tokio::time::Instant::now() + self.timeout;
        let timed_out = || format!("no complete answer within {} ms", self.timeout.as_millis());
        let response = match tokio::time::timeout_at(deadline, self.client.request(request)).await {
            Err(_elapsed) => return Attempt::failed(timed_out()),
            Ok(Err(error)) => {
                let is_postponed = is_busy(&error);
                return Attempt { is_postponed, ..Attempt::failed(with_causes(&error)) };
            }
            Ok(Ok(response)) => response,
        };
        let (status, retry_after) = (response.status(), retry_after(&response));
        let mut start = Vec::new();
        let error = match tokio::time::timeout_at(deadline, read_start(response, &mut start)).await {
            Err(_elapsed) => Some(timed_out()),
            Ok(read) => read.err().map(|error| with_causes(&error)),
        };
        let body = Some(String::from_utf8_lossy(&start).replace('\0', "\u{fffd}"));
        Attempt { status: Some(status.as_u16()), body, error, retry_after, ..Attempt::default() }
    }
}

/// The host of a URL, for lines of the log: the path can be a secret.
pub(crate) fn host_of(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_owned)
}

/// A URL is written as browsers write it: names in Punycode, and other characters than those of URLs escaped.
fn request(url: &str, headers: HeaderMap, body: Bytes) -> Result<Request<Full<Bytes>>, Unsendable> {
    let uri: Uri = Url::parse(url)?.as_str().parse().map_err(hyper::http::Error::from)?;
    let mut request = Request::builder().method(Method::POST).uri(uri).body(Full::new(body))?;
    *request.headers_mut() = headers;
    request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
    request.headers_mut().entry(header::CONTENT_TYPE).or_insert(JSON);
    Ok(request)
}

/// Reads the first bytes of an answer.
async fn read_start(mut response: Response<Incoming>, start: &mut Vec<u8>) -> Result<(), hyper::Error> {
    while let Some(frame) = response.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        start.extend(data.iter().take(MAX_ANSWER_BYTES - start.len()));
        if start.len() == MAX_ANSWER_BYTES {
            break;
        }
    }
    Ok(())
}

/// What a busy receiver asks for: a number of seconds, or a date, which is compared with the date of its own clock.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    if ![StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&response.status()) {
        return None;
    }
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| {
        let now = httpdate::parse_http_date(response.headers().get(header::DATE)?.to_str().ok()?).ok()?;
        httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
    })
}

/// Whether a name only waited to be resolved.
fn is_busy(error: &(dyn Error + 'static)) -> bool {
    let refusal = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .and_then(|refusal| refusal.downcast_ref::<Refusal>());
    matches!(refusal, Some(Refusal::Busy(_))) || error.source().is_some_and(is_busy)
}

/// What an error says, and each of its causes that says something else.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text.chars().take(MAX_ERROR_CHARS).collect()
}
