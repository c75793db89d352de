//! A witness as a setting: its verifier key and where it is.

use std::str::FromStr;

use anyhow::Context as _;
use identity_proof::CosignerKey;
use identity_webhooks::address::{Policy, check_url};
use serde::Deserialize;

/// A witness that is asked to cosign checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Witness {
    /// Verifies its cosignatures.
    pub key: CosignerKey,
    /// What its submission prefix and `/add-checkpoint` make.
    pub url: String,
}

impl FromStr for Witness {
    type Err = anyhow::Error;

    /// Reads the verifier key and the submission prefix, divided by a space.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (key, prefix) =
            text.split_once(' ').context("a witness is its verifier key, a space and its URL")?;
        let key =
            CosignerKey::parse(key).context("the key of a witness (Ed25519 cosignatures, type 0x04)")?;
        let url = check_url(&format!("{}/add-checkpoint", prefix.trim_end_matches('/')), &policy())
            .with_context(|| format!("the URL of the witness {}", key.name()))?;
        Ok(Self { key, url: url.into() })
    }
}

impl TryFrom<String> for Witness {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error| format!("{error:#}"))
    }
}

/// The operator chooses where a witness is, so it may be anywhere, also in a private network.
pub(super) fn policy() -> Policy {
    let anywhere = ["0.0.0.0/0", "::/0"].into_iter().flat_map(str::parse).collect();
    Policy { ports: (1..=u16::MAX).collect(), networks: anywhere, allows_loopback: true }
}
