//! A caller of the service: through a published client, or in plain HTTP.

use std::sync::{Arc, OnceLock};

use inkbox::Inkbox;
use reqwest::Method;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::redirect::Policy;
use serde_json::Value;

use super::answer::{Answer, joined};
use super::laws;
use super::server::Server;

/// A caller with a key, or without one.
pub(crate) struct Caller {
    base_url: String,
    metrics_url: String,
    key: Option<String>,
    client: OnceLock<Arc<Inkbox>>,
    next: OnceLock<Arc<inkbox_next::Inkbox>>,
}

impl Caller {
    pub(super) fn new(server: &Server, key: Option<&str>) -> Self {
        let (base_url, metrics_url) = (server.base_url().to_owned(), server.metrics_url().to_owned());
        let (client, next) = (OnceLock::new(), OnceLock::new());
        Self { base_url, metrics_url, key: key.map(str::to_owned), client, next }
    }

    /// The same caller at the address of the metrics.
    pub(crate) fn at_metrics(&self) -> Self {
        self.at(&self.metrics_url)
    }

    /// The same caller at another address.
    pub(super) fn at(&self, base_url: &str) -> Self {
        let (base_url, metrics_url) = (base_url.to_owned(), self.metrics_url.clone());
        let (client, next) = (OnceLock::new(), OnceLock::new());
        Self { base_url, metrics_url, key: self.key.clone(), client, next }
    }

    /// The published client, unmodified, with the address of the service.
    pub(crate) fn client(&self) -> &Arc<Inkbox> {
        self.client.get_or_init(|| {
            // The client cannot be built without a key. With an empty one it sends an empty header, which the service must
            // refuse like a missing one.
            Inkbox::builder(self.key.as_deref().unwrap_or_default()).base_url(&self.base_url).build().unwrap()
        })
    }

    /// The newest published client.
    pub(crate) fn next(&self) -> &Arc<inkbox_next::Inkbox> {
        self.next.get_or_init(|| {
            let key = self.key.as_deref().unwrap_or_default();
            inkbox_next::Inkbox::builder(key).base_url(&self.base_url).build().unwrap()
        })
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path).send()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path).json(body).send()
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path).json(body).send()
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PATCH, path).json(body).send()
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path).send()
    }

    /// A request that is not sent yet. A path that does not begin with `/api/` is below `/api/v1`.
    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        self.call_at(method, &below_version(path))
    }

    /// A request that is not sent yet, at a complete path.
    pub(crate) fn call_at(&self, method: Method, path: &str) -> Call {
        let what = format!("{method} {path}");
        let request = plain_http().request(method, format!("{}{path}", self.base_url));
        let request = match &self.key {
            Some(key) => request.header("X-API-Key", key),
            None => request,
        };
        Call { request, what }
    }

    pub(super) fn authority(&self) -> &str {
        self.base_url.trim_start_matches("http://")
    }

    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

/// A request that is not sent yet.
pub(crate) struct Call {
    request: RequestBuilder,
    what: String,
}

impl Call {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.request = self.request.json(body);
        self
    }

    /// Any bytes, without a content type.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.request = self.request.body(body.into());
        self
    }

    /// Sends the request, without reading the body and without the checks of `laws`: for answers without an end, and for
    /// a service that may stop.
    pub(crate) fn open(self) -> reqwest::Result<Response> {
        self.request.send()
    }

    /// Sends the request and reads the whole answer.
    pub(crate) fn send(self) -> Answer {
        let response = self.request.send().unwrap_or_else(|error| panic!("{}: {error:?}", self.what));
        let (status, url) = (response.status().as_u16(), response.url().to_string());
        let lines = response.headers().iter();
        let headers =
            joined(lines.map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()))));
        let bytes = response.bytes().unwrap().to_vec();
        let answer = Answer::new(self.what, status, headers, bytes);
        laws::hold_tag(&url, &answer);
        answer
    }
}

pub(super) fn below_version(path: &str) -> String {
    if path.starts_with("/api/") { path.to_owned() } else { format!("/api/v1{path}") }
}

/// One HTTP client for all callers. It follows no redirects, since the service must never send one, and uses no proxy.
fn plain_http() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| Client::builder().redirect(Policy::none()).no_proxy().build().unwrap())
}
