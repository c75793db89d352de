//! The listeners of the service: for the API, and for metrics.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use identity_http::App;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::connections::Server;
use crate::edge::Edge;
use crate::metrics::{self, Metrics};
use crate::settings::WireSettings;
use crate::tls::Tls;

/// The listeners of the service.
pub(super) struct Listeners {
    pub(super) api: TcpListener,
    /// For `/metrics` only; none if its default port is taken.
    metrics: Option<TcpListener>,
}

impl Listeners {
    pub(super) async fn open(api: SocketAddr, wire: &WireSettings) -> anyhow::Result<Self> {
        let metrics = match wire.metrics_listen {
            Some(address) => Some(listen(address).await?),
            None => listen_beside(api).await,
        };
        Ok(Self { api: listen(api).await?, metrics })
    }

    pub(super) fn metrics_address(&self) -> std::io::Result<Option<SocketAddr>> {
        self.metrics.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Serves until the service stops, each listener in a task of its own.
    pub(super) fn serve(
        self,
        app: App,
        metrics: Metrics,
        wire: &WireSettings,
        tls: Option<&Tls>,
        stop: &watch::Receiver<bool>,
    ) -> Vec<JoinHandle<()>> {
        let (api, metrics) = (identity_http::router(app.clone()), metrics::router(metrics, app));
        let run = |listener, tls, edge| {
            let server = Server::new(listener, tls, edge, wire.connections.clone());
            tokio::spawn(server.run(stop.clone()))
        };
        let mut servers = vec![run(self.api, tls.cloned(), Edge::new(api, &wire.cors, wire.compression))];
        // Metrics are read inside an installation, so this listener has no TLS, CORS or compression.
        servers.extend(self.metrics.map(|listener| run(listener, None, Edge::bare(metrics))));
        servers
    }
}

/// The listener of `/metrics` if its address is not set: only for this machine, at the port after that of the API. If
/// that port is taken, the service goes on without metrics. If the API has any free port (0), this has any free port,
/// too.
async fn listen_beside(api: SocketAddr) -> Option<TcpListener> {
    let port = if api.port() == 0 { 0 } else { api.port().checked_add(1)? };
    let listener = listen((Ipv4Addr::LOCALHOST, port).into()).await;
    listener
        .inspect_err(|error| {
            tracing::warn!(error = &**error, "there are no metrics: set metrics_listen to another address");
        })
        .ok()
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}
