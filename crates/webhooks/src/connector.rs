//! Connections to receivers: each goes to an address that was checked a moment before.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use crate::address::{Policy, Resolver, counted_as_now};

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
        let stream = TcpStream::connect(addresses.as_slice()).await?;
        stream.set_nodelay(true)?;
        Ok(TokioIo::new(stream))
    }
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
