//! Connections to receivers: each goes to an address that was checked a moment before.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use crate::address::{Policy, Resolver, counted_as_now};

/// How long one address of a name may take to connect. An attempt has time for three.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(3);

/// Resolves the host of a URL, checks its addresses, and connects to one of them. Nothing is resolved after the check. It
/// knows no proxy. The host of the URL stays what TLS and the header `Host` name.
#[derive(Clone)]
pub(crate) struct GuardedConnector {
    policy: Arc<Policy>,
    resolver: Arc<dyn Resolver>,
}

impl fmt::Debug for GuardedConnector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("GuardedConnector")
    }
}

impl GuardedConnector {
    pub(crate) fn new(policy: Policy, resolver: Arc<dyn Resolver>) -> Self {
        Self { policy: Arc::new(policy), resolver }
    }

    async fn connect(self, uri: Uri) -> io::Result<TokioIo<TcpStream>> {
        let addresses = self.policy.reach(&uri.to_string(), &*self.resolver).await;
        let addresses = addresses.map_err(io::Error::other)?;
        let stream = connect_to_one(&addresses).await?;
        stream.set_nodelay(true)?;
        Ok(TokioIo::new(stream))
    }
}

/// Tries one address after the other. One that does not answer leaves time for the next one.
async fn connect_to_one(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("the host has no address");
    for address in addresses {
        match tokio::time::timeout(MAX_CONNECT_TIME, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_elapsed) => {
                let seconds = MAX_CONNECT_TIME.as_secs();
                failure =
                    io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {seconds} s"));
            }
        }
    }
    Err(failure)
}

impl Service<Uri> for GuardedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<TcpStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        counted_as_now(self.clone().connect(uri)).boxed()
    }
}
