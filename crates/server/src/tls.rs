//! TLS: a certificate and its key, read from files, and read again on SIGHUP.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use identity_terminal::input;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// The largest file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

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
    loaded: watch::Sender<Loaded>,
}

/// A certificate that was read.
#[derive(Debug, Clone)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// Until when it is valid, if that can be read from it.
    expires_at: Option<OffsetDateTime>,
}

impl Tls {
    pub(crate) fn load(settings: TlsSettings) -> anyhow::Result<Self> {
        let loaded = watch::Sender::new(read(&settings)?);
        Ok(Self { settings, loaded })
    }

    /// Reads certificate and key again. If they cannot be used, the ones that were read before stay.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        self.loaded.send_replace(read(&self.settings)?);
        Ok(())
    }

    /// Until when the certificate for new connections is valid.
    pub(crate) fn expires_at(&self) -> Option<OffsetDateTime> {
        self.loaded.borrow().expires_at
    }

    /// Does the TLS handshake.
    pub(crate) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.loaded.borrow().config);
        TlsAcceptor::from(config).accept(stream).await
    }
}

/// Until when the certificate of these settings is valid.
pub(crate) fn expiry(settings: &TlsSettings) -> anyhow::Result<Option<OffsetDateTime>> {
    Ok(certificates(&settings.certificate)?.first().and_then(|first| valid_until(first)))
}

/// The moment by which it is judged whether a certificate has expired.
#[expect(
    clippy::disallowed_methods,
    reason = "clients judge a certificate by the clock of a machine, not by the database's"
)]
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn valid_until(certificate: &[u8]) -> Option<OffsetDateTime> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.validity().not_after.to_datetime())
}

/// Reads the files. A certificate that has expired is served all the same, and the log says so.
fn read(settings: &TlsSettings) -> anyhow::Result<Loaded> {
    let certificates = certificates(&settings.certificate)?;
    let expires_at = certificates.first().and_then(|first| valid_until(first));
    if expires_at.is_some_and(|expires_at| expires_at <= now()) {
        let certificate = settings.certificate.display();
        tracing::error!(%certificate, expires_at = ?expires_at, "the TLS certificate has expired");
    }
    let key = private_key(&settings.key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .context("the TLS certificate and its key cannot be used")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), expires_at })
}

/// The private key of a file in PEM.
pub(crate) fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let context = || format!("cannot read a private key from {}", path.display());
    let text = input::read(path, MAX_FILE_BYTES).with_context(context)?;
    PrivateKeyDer::from_pem_slice(&text).with_context(context)
}

/// The certificates of a file in PEM.
pub(crate) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let context = || format!("cannot read certificates from {}", path.display());
    let text = input::read(path, MAX_FILE_BYTES).with_context(context)?;
    CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().with_context(context)
}
