//! The server loop: accepts connections, serves them, and closes them in good order.
//!
//! A client that is too slow with its first byte, its handshake, its headers or its body is cut off. When the service
//! stops, a connection ends its present request and is closed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use futures::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use identity_http::client::TrustedProxies;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt as _;
use tower_http::timeout::DeadlineBody;
use tracing::Instrument as _;

use crate::edge::Edge;
use crate::tls::Tls;
use crate::traces;

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
    /// How long a client may take to send its first byte, its handshake, the headers of a request, and its body; so this
    /// is also how long a connection may rest between requests.
    pub client_timeout: Duration,
    /// How many connections there may be; more wait to be accepted.
    pub most_connections: usize,
    /// Proxies that are believed when they say whom they speak for.
    pub trusted_proxies: TrustedProxies,
}

/// A listener and the routes that it serves.
pub(crate) struct Server {
    listener: TcpListener,
    tls: Option<Tls>,
    config: Arc<ConnectionConfig>,
    connections: Arc<Semaphore>,
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
    watcher: Watcher,
    stop: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Server {
    pub(crate) fn new(
        listener: TcpListener,
        tls: Option<Tls>,
        edge: Edge,
        settings: ConnectionSettings,
    ) -> Self {
        let connections = Arc::new(Semaphore::new(settings.most_connections));
        Self { listener, tls, config: Arc::new(ConnectionConfig::new(edge, settings)), connections }
    }

    /// Serves until it is told to stop, and then until the last request is answered.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let graceful = GracefulShutdown::new();
        let until_stopped = stop.clone();
        while let Some((stream, peer, permit)) = self.next(&mut stop).await {
            self.serve(stream, peer, permit, &graceful, until_stopped.clone());
        }
        // The system has already accepted these connections for us, so their clients expect an answer.
        while let Some(Ok((stream, peer))) = self.listener.accept().now_or_never() {
            let Ok(permit) = self.connections.clone().try_acquire_owned() else { break };
            self.serve(stream, peer, permit, &graceful, until_stopped.clone());
        }
        drop(self.listener);
        graceful.shutdown().await;
    }

    /// The next connection, as soon as there is room for it; nothing when it is time to stop.
    async fn next(
        &self,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let accepted = async {
            let permit = self.connections.clone().acquire_owned().await.ok()?;
            let (stream, peer) = accept(&self.listener).await;
            Some((stream, peer, permit))
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => None,
            accepted = accepted => accepted,
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        graceful: &GracefulShutdown,
        stop: watch::Receiver<bool>,
    ) {
        let connection = Connection { stream, peer, watcher: graceful.watcher(), stop, _permit: permit };
        let (config, tls) = (Arc::clone(&self.config), self.tls.clone());
        tokio::spawn(async move {
            if let Err(error) = connection.serve(&config, tls.as_ref()).await {
                // A client that disconnects is no fault.
                tracing::debug!(error = &*error, "a connection ended");
            }
        });
    }
}

/// A connection that broke before it was accepted is passed over. When the system has none to give, for want of file
/// descriptors, one that ends makes room.
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
        let Self { stream, peer, watcher, mut stop, _permit } = self;
        // Answers are small and wanted at once: Nagle's algorithm would hold them back.
        stream.set_nodelay(true)?;
        let first_bytes_deadline = first_bytes_deadline(config.settings.client_timeout, &mut stop);
        tokio::pin!(first_bytes_deadline);
        let Some(tls) = tls else {
            let is_http2 = tokio::select! {
                () = &mut first_bytes_deadline => return Ok(()),
                is_http2 = begins_with_http2(&stream) => is_http2?,
            };
            return config.serve_http(stream, peer, is_http2, watcher).await;
        };
        let stream = tokio::select! {
            () = &mut first_bytes_deadline => return Ok(()),
            stream = tls.accept(stream) => stream?,
        };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        config.serve_http(stream, peer, is_http2, watcher).await
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

/// Clients that know beforehand that we speak HTTP/2 say so in their first bytes, and no method begins like that.
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
        watcher: Watcher,
    ) -> Result<(), Failure> {
        let config = Arc::clone(self);
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let span = traces::span(request.method(), request.headers());
            let mut request = config.prepared(request, peer);
            config.edge.router(request.headers_mut()).oneshot(request).instrument(span)
        });
        let stream = TokioIo::new(stream);
        if is_http2 {
            watcher.watch(self.http2.serve_connection(stream, service)).await?;
        } else {
            watcher.watch(self.http1.serve_connection(stream, service)).await?;
        }
        Ok(())
    }

    /// The request with the address of its client, and with a time limit for its body.
    fn prepared(&self, request: hyper::Request<Incoming>, peer: SocketAddr) -> Request {
        let client = self.settings.trusted_proxies.client(peer.ip(), request.headers());
        let mut request = request.map(|body| {
            if body.is_end_stream() {
                Body::empty()
            } else {
                Body::new(DeadlineBody::new(self.settings.client_timeout, body))
            }
        });
        request.extensions_mut().insert(client);
        request
    }
}
