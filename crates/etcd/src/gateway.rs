//! Requests to the gateway: which endpoint is asked, and for how long.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use webpki_roots::TLS_SERVER_ROOTS;

use super::error::EtcdError;
use super::login::{Account, Login};
use super::wire::{AuthenticationAnswer, RefusalAnswer};

/// How long one endpoint may take, before the next one is asked. A transaction of Postgres is open meanwhile.
pub const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest answer. An entry has less than a thousand bytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// How long a connection stays open for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Where etcd is, and who asks it.
#[derive(Debug)]
pub struct Settings {
    /// The addresses of the members of one etcd, such as `http://10.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// The authorities of their certificates; those that browsers trust, if there are none.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The certificate to show, and its key.
    pub certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// The account to use.
    pub account: Option<Account>,
}

#[derive(Debug)]
pub(crate) struct Gateway {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Without a slash at the end.
    endpoints: Vec<String>,
    /// The place of the endpoint that answered last. It is asked first.
    answering: AtomicUsize,
    login: Option<Login>,
}

impl Gateway {
    pub(crate) fn new(settings: Settings) -> Result<Self, EtcdError> {
        let endpoints: Vec<String> =
            settings.endpoints.iter().enumerate().map(checked).collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(EtcdError::NoEndpoint);
        }
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(settings.authorities, settings.certificate)?)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        let login = settings.account.map(Login::new);
        Ok(Self { client, endpoints, answering: AtomicUsize::default(), login })
    }

    /// Sends a request to one endpoint after the other, until one answers. A transaction may be carried out and its answer be
    /// lost; its comparison then fails at the next endpoint.
    pub(crate) async fn call<A: DeserializeOwned>(
        &self,
        path: &str,
        request: &(impl Serialize + Sync),
    ) -> Result<A, EtcdError> {
        let first = self.answering.load(Ordering::Relaxed);
        let mut failures = vec![];
        for place in (0..self.endpoints.len()).map(|place| (first + place) % self.endpoints.len()) {
            let Some(endpoint) = self.endpoints.get(place) else { continue };
            let asked = tokio::time::timeout(ENDPOINT_TIMEOUT, self.ask(endpoint, path, request));
            match asked.await.unwrap_or(Err(EtcdError::Late(ENDPOINT_TIMEOUT.as_secs()))) {
                Ok(answer) => {
                    self.answering.store(place, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => failures.push(format!("{endpoint}: {}", chain(&error))),
            }
        }
        Err(EtcdError::All(failures.join("; ")))
    }

    /// Asks one endpoint. With an account, a refusal may mean that the token is too old, so the endpoint is asked again with
    /// another one.
    async fn ask<A: DeserializeOwned>(
        &self,
        endpoint: &str,
        path: &str,
        request: &(impl Serialize + Sync),
    ) -> Result<A, EtcdError> {
        let Some(login) = &self.login else { return self.send(endpoint, path, request, None).await };
        if let Some(token) = login.token() {
            match self.send(endpoint, path, request, Some(&token)).await {
                Err(EtcdError::Refused { .. }) => {}
                answer => return answer,
            }
        }
        let answer: AuthenticationAnswer =
            self.send(endpoint, "/v3/auth/authenticate", &login.request(), None).await?;
        login.set_token(answer.token.clone());
        self.send(endpoint, path, request, Some(&answer.token)).await
    }

    async fn send<A: DeserializeOwned>(
        &self,
        endpoint: &str,
        path: &str,
        request: &(impl Serialize + Sync),
        token: Option<&str>,
    ) -> Result<A, EtcdError> {
        let mut head = Request::post(format!("{endpoint}{path}"));
        if let Some(token) = token {
            head = head.header(header::AUTHORIZATION, token);
        }
        let request = head.body(Full::new(serde_json::to_vec(request)?.into()))?;
        let (head, body) = self.client.request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(EtcdError::Body)?.to_bytes();
        if head.status != StatusCode::OK {
            let RefusalAnswer { message } = serde_json::from_slice(&body).unwrap_or_default();
            return Err(EtcdError::Refused { status: head.status, message });
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

/// An endpoint without a slash at its end. It has a scheme and an authority, and neither a path nor a password.
fn checked((place, endpoint): (usize, &String)) -> Result<String, EtcdError> {
    let wrong = || EtcdError::Endpoint(place + 1);
    let uri: Uri = endpoint.parse().map_err(|_| wrong())?;
    let is_known = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_bare = uri.path() == "/" && uri.query().is_none();
    let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if is_known && is_bare && is_plain { Ok(endpoint.trim_end_matches('/').to_owned()) } else { Err(wrong()) }
}

fn tls(
    authorities: Vec<CertificateDer<'static>>,
    certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    if authorities.is_empty() {
        roots.roots = TLS_SERVER_ROOTS.to_vec();
    }
    for authority in authorities {
        roots.add(authority)?;
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    match certificate {
        Some((certificates, key)) => tls.with_client_auth_cert(certificates, key),
        None => Ok(tls.with_no_client_auth()),
    }
}

/// An error with its causes, in one line.
fn chain(error: &EtcdError) -> String {
    let causes = std::iter::successors(Some(error as &dyn Error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
