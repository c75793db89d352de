//! The key that signs checkpoints, and where what was signed is remembered: the folder `signing` in the data directory.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use identity_log::proof::memory::Memory;
use identity_log::proof::signer::Signer;
use identity_proof::SigningKey;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgPool;

/// Who signs.
#[derive(Debug, Clone)]
pub struct SigningSettings {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The key in base64; without it, one is made on first start and kept in the data directory.
    pub key: Option<SecretString>,
}

impl SigningSettings {
    /// A signer with the key that is given, or kept, or made now.
    pub fn signer(&self, pool: PgPool) -> anyhow::Result<Signer> {
        let key = match self.existing_key()? {
            Some(key) => key,
            None => self.make_key()?,
        };
        Ok(Signer::new(pool, key, Memory::new(self.folder())))
    }

    /// The same, if there is a key already: a command in the wrong folder makes none.
    pub fn existing_signer(&self, pool: PgPool) -> anyhow::Result<Option<Signer>> {
        let key = self.existing_key()?;
        Ok(key.map(|key| Signer::new(pool, key, Memory::new(self.folder()))))
    }

    fn folder(&self) -> PathBuf {
        self.data_dir.join("signing")
    }

    fn existing_key(&self) -> anyhow::Result<Option<SigningKey>> {
        if let Some(given) = &self.key {
            let key = SigningKey::parse(given.expose_secret()).context("the signing key that is set")?;
            return Ok(Some(key));
        }
        let file = self.folder().join("key");
        match fs::read_to_string(&file) {
            Ok(text) => {
                check_private(&file)?;
                let key = SigningKey::parse(&text).with_context(|| file.display().to_string())?;
                Ok(Some(key))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Another process may be at it too: whoever links its file first has made the key of both.
    fn make_key(&self) -> anyhow::Result<SigningKey> {
        let folder = self.folder();
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut seed = [0; 32];
        OsRng.try_fill_bytes(&mut seed).context("the operating system gives no randomness")?;
        let draft = folder.join(format!("key.{}", std::process::id()));
        let written = write_private(&draft, &SigningKey::from_seed(&seed).expose());
        let linked = written.and_then(|()| match fs::hard_link(&draft, folder.join("key")) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => fs::remove_file(&draft),
        });
        linked.with_context(|| format!("cannot keep a signing key in {}", folder.display()))?;
        self.existing_key()?.context("the signing key is gone as soon as it is made")
    }
}

fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    let mut writer = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    writeln!(writer, "{text}")?;
    writer.sync_all()
}

/// Whoever can read the key can sign a history of their own.
fn check_private(file: &Path) -> anyhow::Result<()> {
    let mode = fs::metadata(file)?.permissions().mode() & 0o777;
    let others = mode & 0o077;
    ensure!(others == 0, "{} is open to other users (mode {mode:o}, should be 600)", file.display());
    Ok(())
}
