//! Settings of the signer: where it remembers what was signed.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use serde::Deserialize;

use super::pairs::both;
use crate::signing::EtcdSettings;
use crate::tls::TlsSettings;

/// Settings of the signer in one layer of settings: flags and environment, or the table `signer` of the settings file.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerLayer {
    /// Endpoints of one etcd in which all hosts remember what was signed, such as `http://10.0.0.1:2379` [default: none, each host
    /// remembers it in its data directory]
    #[arg(long, global = true, env = "IDENTITYD_SIGNER_ETCD", value_name = "URL", value_delimiter = ',')]
    pub signer_etcd: Option<Vec<String>>,

    /// File with certificates of the authorities of this etcd, in PEM [default: those that browsers trust]
    #[arg(long, global = true, env = "IDENTITYD_SIGNER_ETCD_CA_FILE", value_name = "FILE")]
    pub signer_etcd_ca_file: Option<PathBuf>,

    /// File of the certificate to show to it and those above it, in PEM [default: none]
    #[arg(long, global = true, env = "IDENTITYD_SIGNER_ETCD_CERTIFICATE", value_name = "FILE")]
    pub signer_etcd_certificate: Option<PathBuf>,

    /// File of the private key of this certificate, in PEM [default: none]
    #[arg(long, global = true, env = "IDENTITYD_SIGNER_ETCD_KEY", value_name = "FILE")]
    pub signer_etcd_key: Option<PathBuf>,

    /// Account of this etcd [default: none]
    #[arg(long, global = true, env = "IDENTITYD_SIGNER_ETCD_USER", value_name = "NAME")]
    pub signer_etcd_user: Option<String>,

    /// File with the password of this account, which nobody else can read [default: none]
    #[arg(long, global = true, env = "IDENTITYD_SIGNER_ETCD_PASSWORD_FILE", value_name = "FILE")]
    pub signer_etcd_password_file: Option<PathBuf>,
}

impl SignerLayer {
    /// Values of this layer, and for those that it does not set the values of the layer below.
    #[must_use]
    pub fn over(self, below: &Self) -> Self {
        let below = below.clone();
        Self {
            signer_etcd: self.signer_etcd.or(below.signer_etcd),
            signer_etcd_ca_file: self.signer_etcd_ca_file.or(below.signer_etcd_ca_file),
            signer_etcd_certificate: self.signer_etcd_certificate.or(below.signer_etcd_certificate),
            signer_etcd_key: self.signer_etcd_key.or(below.signer_etcd_key),
            signer_etcd_user: self.signer_etcd_user.or(below.signer_etcd_user),
            signer_etcd_password_file: self.signer_etcd_password_file.or(below.signer_etcd_password_file),
        }
    }

    /// Checks the result; an error names the key.
    pub fn resolve(self) -> anyhow::Result<Option<EtcdSettings>> {
        let certificate = both(
            ("signer_etcd_certificate", self.signer_etcd_certificate),
            ("signer_etcd_key", self.signer_etcd_key),
        )?
        .map(|(certificate, key)| TlsSettings { certificate, key });
        let account = both(
            ("signer_etcd_user", self.signer_etcd_user),
            ("signer_etcd_password_file", self.signer_etcd_password_file),
        )?;
        let ca_file = self.signer_etcd_ca_file;
        let Some(endpoints) = self.signer_etcd else {
            let is_alone = ca_file.is_none() && certificate.is_none() && account.is_none();
            ensure!(is_alone, "other settings of signer_etcd are set, and signer_etcd is not");
            return Ok(None);
        };
        Ok(Some(EtcdSettings { endpoints, ca_file, certificate, account }))
    }
}
