//! The secrets key, under which signing keys of identities, tokens of webhook subscriptions and signing keys of log endpoints are
//! sealed. It is the file `secrets.key` of the data directory, unless the settings name another file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use identity_domain::Kind;
use identity_log::signing_keys::{self, SecretsKey};
use identity_log::{ciphertexts, webhook_tokens};
use identity_webhooks::log_endpoints;
use secrecy::ExposeSecret as _;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::key_file;

/// Where the secrets key is.
#[derive(Debug, Clone)]
pub struct SecretsSettings {
    file: PathBuf,
    /// Whether the operator named the file. Such a file is never made.
    is_given: bool,
}

impl SecretsSettings {
    /// The file that the operator named, or else the one in the data directory.
    pub fn new(given: Option<PathBuf>, data_dir: &Path) -> Self {
        match given {
            Some(file) => Self { file, is_given: true },
            None => Self { file: data_dir.join("secrets.key"), is_given: false },
        }
    }

    /// Where it is kept.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The key. The first start makes one in the data directory. No key is made for a database that has sealed secrets
    /// already: a new key would open none of them.
    pub(crate) async fn load(&self, pool: &PgPool) -> anyhow::Result<SecretsKey> {
        if let Some(key) = self.existing()? {
            return Ok(key);
        }
        let file = self.file.display();
        if self.is_given {
            bail!("there is no secrets key in {file}");
        }
        if is_any_sealed(pool).await.context("cannot look for sealed secrets")? {
            bail!("{}", self.missing());
        }
        self.make().with_context(|| format!("cannot keep a secrets key in {file}"))?;
        self.existing()?.context("the secrets key was made, and has disappeared since")
    }

    fn existing(&self) -> anyhow::Result<Option<SecretsKey>> {
        let Some(text) = key_file::read(&self.file)? else { return Ok(None) };
        let key = SecretsKey::parse(text.expose_secret());
        key.with_context(|| self.file.display().to_string()).map(Some)
    }

    fn make(&self) -> anyhow::Result<()> {
        let text = SecretsKey::generate().context("the operating system gives no randomness")?;
        if let Some(folder) = self.file.parent() {
            key_file::make_folder(folder)?;
        }
        Ok(key_file::make(&self.file, &text)?)
    }

    fn missing(&self) -> String {
        format!(
            "{} is missing, and signing keys of identities, tokens of webhook subscriptions and signing keys of log endpoints are \
             sealed with it: restore it from a backup; if there is none, put 32 random bytes in base64 there (mode 600), create \
             these signing keys and these log endpoints again, and set these tokens again",
            self.file.display()
        )
    }

    /// Fails unless the key is there, private, and opens everything that is sealed. Changes nothing.
    pub async fn examine(&self, connection: &mut PgConnection) -> anyhow::Result<String> {
        let cannot_read = "cannot read sealed secrets";
        let keys = signing_keys::all_sealed(&mut *connection).await.context(cannot_read)?;
        let tokens = webhook_tokens::all_sealed(&mut *connection).await.context(cannot_read)?;
        let endpoints = log_endpoints::all_sealed(connection).await.context(cannot_read)?;
        let Some(key) = self.existing()? else {
            if keys.is_empty() && tokens.is_empty() && endpoints.is_empty() {
                return Ok("nothing is sealed yet, and there is no key yet".to_owned());
            }
            bail!("{}", self.missing());
        };
        let is_open = |owner: &Uuid, sealed: &[u8]| key.open(*owner, sealed).is_ok();
        self.all_open("signing keys", "identity", &keys, is_open, "create these signing keys again")?;
        let remedy = "create these log endpoints again";
        self.all_open("signing keys of log endpoints", "log endpoint", &endpoints, is_open, remedy)?;
        let is_open = |owner: &Uuid, sealed: &[u8]| webhook_tokens::open(&key, *owner, sealed).is_ok();
        self.all_open("tokens", "webhook subscription", &tokens, is_open, "set these tokens again")?;
        Ok(format!(
            "opens all that is sealed: signing keys of {} identities and {} log endpoints, tokens of {} webhook subscriptions",
            keys.len(),
            endpoints.len(),
            tokens.len()
        ))
    }

    /// Fails if the key does not open one of these.
    fn all_open(
        &self,
        what: &str,
        owner: &str,
        sealed: &[(Uuid, Vec<u8>)],
        is_open: impl Fn(&Uuid, &[u8]) -> bool,
        remedy: &str,
    ) -> anyhow::Result<()> {
        let closed: Vec<&Uuid> =
            sealed.iter().filter(|(id, sealed)| !is_open(id, sealed)).map(|(id, _)| id).collect();
        if let Some(first) = closed.first() {
            bail!(
                "{} does not open {} of {} {what}, the first is that of {owner} {first}: restore the right key, or {remedy}",
                self.file.display(),
                closed.len(),
                sealed.len()
            );
        }
        Ok(())
    }
}

/// Whether anything is sealed under the secrets key.
async fn is_any_sealed(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let names = [(Kind::Identity, signing_keys::NAME), (Kind::WebhookSubscription, webhook_tokens::NAME)];
    Ok(ciphertexts::is_any_there(pool, &names).await? || log_endpoints::is_any_there(pool).await?)
}
