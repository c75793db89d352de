//! The server loop: accepts connections, serves them, and closes them.
//!
//! A client that is too slow with its first byte, its handshake, its headers or its body is cut off. When the service
//! stops, a connection ends its present request and is closed.

mod bodies;
mod host;
mod places;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use identity_http::around;
use identity_http::client::TrustedProxies;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::ServiceExt as _;
use tracing::Instrument as _;

use self::bodies::{Home, LentBody, PacedBody};
use self::places::{Occupant, Places, TakenPlace};
use self::wire::{Lingers, Wire};
use crate::edge::Edge;
use crate::tls::Tls;
use crate::traces;

/// How many bytes of an answer are taken from its body before the client reads them, and of a request before they are parsed. A
/// body that is larger exists until its client reads it, and so does its share (`http/around.rs`).
const MAX_BUFFERED_BYTES: usize = 128 * 1024;

/// The largest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The most header lines of a request.
const MAX_HEADER_LINES: usize = 100;

/// How many requests one connection of HTTP/2 may have under way.
const MAX_HTTP2_STREAMS: u32 = 128;

/// How often a client of HTTP/2 is pinged.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long a connection without a request may still send one when the service stops: it may be on its way.
const FIRST_REQUEST_TIMEOUT_WHILE_STOPPING: Duration = Duration::from_millis(500);

/// How long to wait when the system gives no more connections.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// How connections are served.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    /// How long a client may take to send its first byte, its handshake, the headers of a request, and its body; so a
    /// connection may also be idle for as long between requests.
    pub client_timeout: Duration,
    /// How long a client may read nothing of what is written to it.
    pub write_timeout: Duration,
    /// How many connections there may be. When there are as many, the one that has been idle for longest is closed; if none
    /// is idle, more wait to be accepted.
    pub max_connections: usize,
    /// How many of them one address may have that is no trusted proxy's.
    pub max_connections_of_address: usize,
    /// Proxies that are trusted to report the address of the client.
    pub trusted_proxies: TrustedProxies,
}

/// A listener and the routes that it serves.
pub(crate) struct Server {
    listener: TcpListener,
    tls: Option<Tls>,
    config: Arc<ConnectionConfig>,
    places: Places,
}

/// The configuration that all connections share.
struct ConnectionConfig {
    edge: Edge,
    settings: ConnectionSettings,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

/// A connection that was accepted.
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    place: TakenPlace,
    stop: watch::Receiver<bool>,
}

impl Server {
    pub(crate) fn new(
        listener: TcpListener,
        tls: Option<Tls>,
        edge: Edge,
        settings: ConnectionSettings,
    ) -> Self {
        let ConnectionSettings { max_connections, max_connections_of_address, trusted_proxies, .. } =
            settings.clone();
        let places = Places::new(max_connections, max_connections_of_address, trusted_proxies);
        Self { listener, tls, config: Arc::new(ConnectionConfig::new(edge, settings)), places }
    }

    /// Serves until it is told to stop, and then until the last request is answered.
    pub(crate) async fn run(self, stop: watch::Receiver<bool>) {
        let (places, write_timeout) = (self.places.clone(), self.config.settings.write_timeout);
        tokio::select! {
            never = places.end_stalled(write_timeout) => match never {},
            () = self.serve_all(stop) => {}
        }
    }

    async fn serve_all(self, mut stop: watch::Receiver<bool>) {
        let until_stopped = stop.clone();
        while let Some((stream, peer, place)) = self.next(&mut stop).await {
            self.serve(stream, peer, place, until_stopped.clone());
        }
        // The system has accepted these connections already, so their clients expect an answer.
        while let Some(Ok((stream, peer))) = self.listener.accept().now_or_never() {
            let Some(place) = self.places.try_take(peer.ip()) else { break };
            self.serve(stream, peer, place, until_stopped.clone());
        }
        drop(self.listener);
        self.places.emptied().await;
    }

    /// The next connection, as soon as there is room for it; nothing when it is time to stop.
    async fn next(&self, stop: &mut watch::Receiver<bool>) -> Option<(TcpStream, SocketAddr, TakenPlace)> {
        let accepted = async {
            loop {
                let (stream, peer) = accept(&self.listener).await;
                // An address that has as many connections as it may, all of them busy, gets no further one.
                if let Some(place) = self.places.take(peer.ip()).await {
                    return (stream, peer, place);
                }
            }
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => None,
            accepted = accepted => Some(accepted),
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: TakenPlace, stop: watch::Receiver<bool>) {
        let connection = Connection { stream, peer, place, stop };
        let (config, tls) = (Arc::clone(&self.config), self.tls.clone());
        tokio::spawn(async move {
            if let Err(error) = connection.serve(&config, tls.as_ref()).await {
                // A client that disconnects is no fault.
                tracing::debug!(error = &*error, "a connection ended");
            }
        });
    }
}

/// The next connection. One that broke before it was accepted is skipped. If the system has no file descriptor left,
/// accepting is tried again until a connection has ended.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Connection {
    async fn serve(self, config: &Arc<ConnectionConfig>, tls: Option<&Tls>) -> Result<(), Failure> {
        let Self { stream, peer, place, mut stop } = self;
        // Answers are small and should be sent at once. Nagle's algorithm would delay them.
        stream.set_nodelay(true)?;
        let occupant = &place.occupant;
        let until_stopped = stop.clone();
        let given_up = async {
            tokio::select! {
                () = first_bytes_deadline(config.settings.client_timeout, &mut stop) => {}
                () = occupant.told_to_end() => {}
            }
        };
        let mut given_up = pin!(given_up);
        let Some(tls) = tls else {
            let is_http2 = tokio::select! {
                () = &mut given_up => return Ok(()),
                is_http2 = begins_with_http2(&stream) => is_http2?,
            };
            return config.serve_http(stream, peer, is_http2, occupant, until_stopped).await;
        };
        let stream = tokio::select! {
            () = &mut given_up => return Ok(()),
            stream = tls.accept(stream) => stream?,
        };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        config.serve_http(stream, peer, is_http2, occupant, until_stopped).await
    }
}

/// Drives a connection until it ends. When the service stops, or its place is wanted, it takes no further request; a
/// connection whose place is wanted is cut off once it is idle.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    end: impl Fn(Pin<&mut C>),
    occupant: &Occupant,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        _ = stop.wait_for(|stop| *stop) => {}
        () = occupant.told_to_end() => {}
    }
    end(connection.as_mut());
    tokio::select! {
        biased;
        ended = connection.as_mut() => Ok(ended?),
        () = occupant.may_be_cut_off() => Ok(()),
    }
}

/// Ends when a client has taken too long with its first bytes. When the service stops, that is sooner.
async fn first_bytes_deadline(longest: Duration, stop: &mut watch::Receiver<bool>) {
    let stopped = async {
        if stop.wait_for(|stop| *stop).await.is_ok() {
            tokio::time::sleep(FIRST_REQUEST_TIMEOUT_WHILE_STOPPING).await;
        }
    };
    tokio::select! {
        () = tokio::time::sleep(longest) => {}
        () = stopped => {}
    }
}

/// Whether the client speaks HTTP/2 without asking first. Its first bytes show that, since no method begins with them.
async fn begins_with_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 3];
    let length = stream.peek(&mut first).await?;
    Ok(length == first.len() && first == *b"PRI")
}

impl ConnectionConfig {
    fn new(edge: Edge, settings: ConnectionSettings) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(settings.client_timeout)
            .max_header_size(MAX_HEAD_BYTES)
            .max_buf_size(MAX_BUFFERED_BYTES)
            .max_headers(MAX_HEADER_LINES);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(settings.client_timeout)
            .max_concurrent_streams(MAX_HTTP2_STREAMS)
            .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX));
        Self { edge, settings, http1, http2 }
    }

    async fn serve_http(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: SocketAddr,
        is_http2: bool,
        occupant: &Arc<Occupant>,
        stop: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let ConnectionSettings { client_timeout, write_timeout, .. } = self.settings;
        let lingers = Lingers::default();
        let stream = TokioIo::new(Wire::new(stream, write_timeout, client_timeout, lingers.clone()));
        let (config, answering) = (Arc::clone(self), Arc::clone(occupant));
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let (config, lingers, answer) = (Arc::clone(&config), lingers.clone(), answering.begin_answer());
            async move {
                let response = config.answer(request, peer, &lingers).await;
                Ok::<_, Infallible>(response.map(|body| PacedBody::new(body, answer)))
            }
        });
        if is_http2 {
            let connection = self.http2.serve_connection(stream, service);
            drive(connection, http2::Connection::graceful_shutdown, occupant, stop).await
        } else {
            let connection = self.http1.serve_connection(stream, service);
            drive(connection, http1::Connection::graceful_shutdown, occupant, stop).await
        }
    }

    /// Answers a request. On HTTP/1.1 a connection is closed after an answer that came before the body was read, and the
    /// answer says so. On HTTP/2 the rest of the body is read and dropped.
    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        lingers: &Lingers,
    ) -> Response {
        let is_http1 = request.version() < Version::HTTP_2;
        let awaits_continue = request.headers().contains_key(header::EXPECT);
        // hyper counts the lines of HTTP/1.1 itself, and answers in the same way.
        if request.headers().len() > MAX_HEADER_LINES {
            return StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response();
        }
        if !host::has_valid_host(&request) {
            return last_answer(around::host_required(request.headers()), lingers);
        }
        let span = traces::span(request.method(), request.headers());
        let home = Home::default();
        let mut request = self.prepared(request, peer, &home);
        let router = self.edge.router(&mut request);
        let answered = router.oneshot(request).instrument(span).await;
        let response = answered.unwrap_or_else(|never: Infallible| match never {});
        if !is_http1 {
            home.discard();
        } else if !home.is_read(awaits_continue).await {
            return last_answer(response, lingers);
        }
        response
    }

    /// The request with the address of its client, and with a time limit for its body.
    fn prepared(&self, request: hyper::Request<Incoming>, peer: SocketAddr, home: &Home) -> Request {
        let client = self.settings.trusted_proxies.client(peer.ip(), request.headers());
        let mut request = request.map(|body| {
            if body.is_end_stream() {
                Body::empty()
            } else {
                Body::new(LentBody::new(body, self.settings.client_timeout, home.clone()))
            }
        });
        request.extensions_mut().insert(client);
        request
    }
}

/// An answer after which the connection is closed.
fn last_answer(mut response: Response, lingers: &Lingers) -> Response {
    lingers.set();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
