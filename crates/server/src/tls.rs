//! TLS: a certificate and its key, read from files, and read again when the operator says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// Where certificate and key are, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate, followed by those that lead from it to a root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The certificate for new connections. Clones share it, and see a new certificate at once.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    settings: TlsSettings,
    config: watch::Sender<Arc<ServerConfig>>,
}

impl Tls {
    pub(crate) fn load(settings: TlsSettings) -> anyhow::Result<Self> {
        let config = watch::Sender::new(read(&settings)?);
        Ok(Self { settings, config })
    }

    /// Reads certificate and key again. If they cannot be used, the ones that were read before stay.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        self.config.send_replace(read(&self.settings)?);
        Ok(())
    }

    /// Does the TLS handshake.
    pub(crate) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.config.borrow());
        TlsAcceptor::from(config).accept(stream).await
    }
}

fn read(settings: &TlsSettings) -> anyhow::Result<Arc<ServerConfig>> {
    let certificates = certificates(&settings.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&settings.key)
        .with_context(|| format!("cannot read a private key from {}", settings.key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .context("the TLS certificate and its key cannot be used")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    certificates.with_context(|| format!("cannot read certificates from {}", path.display()))
}
