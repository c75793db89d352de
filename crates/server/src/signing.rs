//! The key that signs checkpoints. It is in the folder `signing` of the data directory, or where the settings say, and so are the last
//! checkpoints that were signed.

mod etcd;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use identity_log::proof::memory::Memory;
use identity_log::proof::rotation::Rotation;
use identity_log::proof::signer::Signer;
use identity_proof::{SealKey, SigningKey};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgPool;

use crate::key_file;

pub use self::etcd::EtcdSettings;

/// The file of the signing key, in its folder.
const KEY: &str = "key";

/// The file of the key that is to replace it.
const NEXT_KEY: &str = "key.next";

/// The key that signs checkpoints.
#[derive(Debug, Clone)]
pub struct SigningSettings {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The key; without it, one is made on first start and kept in the data directory.
    pub key: Option<GivenKey>,
    /// The etcd in which all hosts remember what was signed, if not each host in its data directory.
    pub etcd: Option<EtcdSettings>,
}

/// A key that the operator keeps.
#[derive(Debug, Clone)]
pub enum GivenKey {
    /// In base64.
    Text(SecretString),
    /// In a file that nobody else can read, in base64.
    File(PathBuf),
}

/// A signing key that has replaced another one.
#[derive(Debug)]
pub struct Replacement {
    /// How many logs it has signed.
    pub logs: usize,
    /// Its verifier key, under the name of the installation.
    pub key: String,
    /// The note in which the old key introduces it.
    pub introduction: String,
}

impl From<String> for GivenKey {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl SigningSettings {
    /// The signer of a service, which may trust the checkpoints that it finds. Its key must be that of the history: what is sealed
    /// with another one is never signed.
    pub async fn signer(&self, pool: PgPool, trusts_checkpoints: bool) -> anyhow::Result<Signer> {
        let key = self.key_of_history(&pool).await?;
        Ok(self.signer_of(pool, key)?.trusting_checkpoints(trusts_checkpoints))
    }

    /// A signer for a history that may have been sealed with another key. The key is the one in the settings, or else the one in the
    /// data directory, which is made if it is missing.
    pub fn any_signer(&self, pool: PgPool) -> anyhow::Result<Signer> {
        let key = match self.existing_key()? {
            Some(key) => key,
            None => self.make_key(KEY)?,
        };
        self.signer_of(pool, key)
    }

    /// A signer without making a key: a command in the wrong folder must not make one.
    pub fn existing_signer(&self, pool: PgPool) -> anyhow::Result<Option<Signer>> {
        self.existing_key()?.map(|key| self.signer_of(pool, key)).transpose()
    }

    fn signer_of(&self, pool: PgPool, key: SigningKey) -> anyhow::Result<Signer> {
        let memory = Memory::in_files(self.folder());
        let memory = match &self.etcd {
            Some(etcd) => memory.shared(Arc::new(etcd.open()?), &key),
            None => memory,
        };
        Ok(Signer::new(pool, key, memory))
    }

    /// The verifier key of the key that is there, under the name of the installation; none if there is no key.
    pub fn verifier_key(&self) -> anyhow::Result<Option<String>> {
        Ok(self.existing_key()?.map(|key| key.introduced_name()))
    }

    /// The key that seals the events of a command line.
    pub async fn seal_key(&self, pool: &PgPool) -> anyhow::Result<SealKey> {
        Ok(self.key_of_history(pool).await?.seal_key())
    }

    /// The key of the history. A new key is made only for a database without events.
    async fn key_of_history(&self, pool: &PgPool) -> anyhow::Result<SigningKey> {
        match self.existing_key_of_history(pool).await? {
            Some(key) => Ok(key),
            None => self.make_key(KEY),
        }
    }

    /// The key with which a service would start on this history; none if it would make one. Fails where no service would start.
    pub async fn existing_key_of_history(&self, pool: &PgPool) -> anyhow::Result<Option<SigningKey>> {
        let is_empty = identity_log::proof::is_empty(pool).await.context("cannot look at the history")?;
        let Some(key) = self.existing_key()? else {
            ensure!(
                is_empty,
                "there is no signing key in {}, and the database has a history: what is written must be sealed with the key of the \
                 service; give its --data-dir or --signing-key-file (if it is lost, see docs/proof.md, \"A lost signing key\")",
                self.folder().display()
            );
            return Ok(None);
        };
        let is_ours = identity_log::proof::is_of(pool, &key).await.context("cannot look at the history")?;
        ensure!(
            is_ours,
            "the history of this database is sealed with another key than the one given, or this signing key was replaced; give \
             the --data-dir or --signing-key-file of the service"
        );
        Ok(Some(key))
    }

    /// Replaces the signing key. A key of the data directory is replaced by a new one there; one that is set, by the one in `next`,
    /// which is set from then on. Nothing else may use the database meanwhile. May be repeated if it was cut off.
    pub async fn replace_key(&self, pool: &PgPool, next: Option<&Path>) -> anyhow::Result<Replacement> {
        let old = self.existing_signer(pool.clone())?.context("there is no signing key to be replaced")?;
        let mut rotation = Rotation::begin(pool, &old).await?;
        let next_key = self.next_key(next, rotation.is_replaced())?;
        let key = next_key.introduced_name();
        ensure!(key != old.key().introduced_name(), "the next signing key is the present one");
        let (introduction, logs) = rotation.finish(&next_key).await?;
        if self.key.is_none() {
            let folder = self.folder();
            fs::rename(folder.join(NEXT_KEY), folder.join(KEY))
                .and_then(|()| File::open(&folder)?.sync_all())
                .with_context(|| format!("cannot put the new key in place in {}", folder.display()))?;
        }
        Ok(Replacement { logs, key, introduction })
    }

    /// The key that is to replace the present one. A key that is left from an earlier attempt may have become known
    /// since, so another one is made, unless the present key has introduced it.
    fn next_key(&self, given: Option<&Path>, is_introduced: bool) -> anyhow::Result<SigningKey> {
        match (&self.key, given) {
            (None, None) => {
                if !is_introduced {
                    remove_if_there(&self.folder().join(NEXT_KEY))?;
                }
                self.make_key(NEXT_KEY)
            }
            (Some(_), Some(file)) => {
                key_of(file)?.with_context(|| format!("there is no signing key in {}", file.display()))
            }
            (None, Some(_)) => bail!("the signing key is in the data directory: leave --next-key-file out"),
            (Some(_), None) => bail!("the signing key is set: give the next one with --next-key-file"),
        }
    }

    /// The folder of the key and of the last checkpoints, unless the settings name other places.
    pub fn folder(&self) -> PathBuf {
        self.data_dir.join("signing")
    }

    fn existing_key(&self) -> anyhow::Result<Option<SigningKey>> {
        match &self.key {
            Some(GivenKey::Text(given)) => {
                SigningKey::parse(given.expose_secret()).context("the signing key that is set").map(Some)
            }
            Some(GivenKey::File(file)) => {
                let key = key_of(file)?;
                key.with_context(|| format!("there is no signing key in {}", file.display())).map(Some)
            }
            None => key_of(&self.folder().join(KEY)),
        }
    }

    /// Makes the key in this file of the folder, unless it is there.
    fn make_key(&self, file: &str) -> anyhow::Result<SigningKey> {
        let folder = self.folder();
        key_file::make_private_folder(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let mut seed = [0; 32];
        OsRng.try_fill_bytes(&mut seed).context("the operating system gives no randomness")?;
        let file = folder.join(file);
        let made = key_file::make(&file, &SigningKey::from_seed(&seed).expose().into());
        made.with_context(|| format!("cannot keep a signing key in {}", folder.display()))?;
        key_of(&file)?.context("the signing key was made, and has disappeared since")
    }
}

/// The key in a file, if there is a file.
fn key_of(file: &Path) -> anyhow::Result<Option<SigningKey>> {
    let Some(text) = key_file::read(file)? else { return Ok(None) };
    SigningKey::parse(text.expose_secret().trim()).with_context(|| file.display().to_string()).map(Some)
}

fn remove_if_there(file: &Path) -> anyhow::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}
