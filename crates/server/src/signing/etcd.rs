//! The etcd in which all hosts remember what was signed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use identity_etcd::{Account, Etcd, Settings};
use secrecy::ExposeSecret as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::key_file;
use crate::tls::{TlsSettings, certificates, private_key};

/// Where etcd is, and who asks it. Files are read when it is opened.
#[derive(Debug, Clone)]
pub struct EtcdSettings {
    /// The addresses of its members, such as `http://10.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// The authorities of their certificates, in PEM; without them, those that browsers trust.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show.
    pub certificate: Option<TlsSettings>,
    /// The name of an account, and the file with its password, which nobody else can read.
    pub account: Option<(String, PathBuf)>,
}

impl EtcdSettings {
    /// The etcd. It is not asked yet.
    pub(super) fn open(&self) -> anyhow::Result<Etcd> {
        let settings = Settings {
            endpoints: self.endpoints.clone(),
            authorities: self.ca_file.as_deref().map(authorities).transpose()?.unwrap_or_default(),
            certificate: self.certificate.as_ref().map(shown).transpose()?,
            account: self.account.as_ref().map(|(user, file)| account(user, file)).transpose()?,
        };
        Etcd::new(settings).context("signer_etcd cannot be used")
    }
}

/// The authorities in a file. If there were none, those that browsers trust would be trusted.
fn authorities(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = certificates(file)?;
    ensure!(!found.is_empty(), "signer_etcd_ca_file {} has no certificate in PEM", file.display());
    Ok(found)
}

fn shown(settings: &TlsSettings) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    Ok((certificates(&settings.certificate)?, private_key(&settings.key)?))
}

fn account(user: &str, file: &Path) -> anyhow::Result<Account> {
    let password = key_file::read(file)?;
    let password = password.with_context(|| format!("there is no password in {}", file.display()))?;
    Ok(Account { user: user.to_owned(), password: password.expose_secret().trim().into() })
}
