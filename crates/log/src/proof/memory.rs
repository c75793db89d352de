//! The last checkpoint of each organization, in one file each beside the signing key, and the position from which on
//! every event is sealed.
//!
//! A database that was restored from a backup lacks the checkpoints that were signed after the backup. These files have
//! them, so the signer notices a second history before it signs it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::AsyncWriteExt as _;

use super::signed::Signed;
use crate::event::ids;

/// The file with the position from which on every event is sealed. Files of organizations end in `.note`.
const SEALED_FROM: &str = "sealed-from";

/// The folder of these files.
#[derive(Debug, Clone)]
pub struct Memory {
    folder: PathBuf,
}

impl Memory {
    /// The memory in this folder. The folder is created with its first file.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The last checkpoint of an organization. A file that cannot be read is an error: it may be the only trace of
    /// what was signed.
    pub(crate) async fn recall(&self, organization_id: &str) -> std::io::Result<Option<Signed>> {
        let note = match fs::read_to_string(self.file(organization_id)).await {
            Ok(note) => note,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Signed::read(note).map(Some).map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))
    }

    /// Stores a checkpoint. When this returns, the file survives a crash.
    pub async fn remember(&self, organization_id: &str, signed: &Signed) -> std::io::Result<()> {
        let file = self.file(organization_id);
        let draft = file.with_extension("draft");
        self.write(&draft, &signed.note).await?;
        fs::rename(&draft, &file).await?;
        sync_folder(&self.folder).await
    }

    /// Whether nothing was ever stored here: this host has signed nothing.
    pub(super) async fn is_empty(&self) -> std::io::Result<bool> {
        let mut files = match fs::read_dir(&self.folder).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            files => files?,
        };
        while let Some(file) = files.next_entry().await? {
            let name = file.file_name();
            if name == SEALED_FROM
                || Path::new(&name).extension().is_some_and(|extension| extension == "note")
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The position from which on every event is sealed, if it was stored.
    pub(super) async fn sealed_from(&self) -> std::io::Result<Option<i64>> {
        match fs::read_to_string(self.folder.join(SEALED_FROM)).await {
            Ok(text) => {
                let position = text.trim().parse();
                position.map(Some).map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores the position from which on every event is sealed. If another process has stored one first, that one stays.
    pub(super) async fn remember_sealed_from(&self, position: i64) -> std::io::Result<()> {
        let draft = self.folder.join(format!("{SEALED_FROM}.{}", ids::mint()));
        self.write(&draft, &format!("{position}\n")).await?;
        let linked = fs::hard_link(&draft, self.folder.join(SEALED_FROM)).await;
        fs::remove_file(&draft).await?;
        if let Err(error) = linked
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        sync_folder(&self.folder).await
    }

    async fn write(&self, file: &Path, text: &str) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder).await?;
        let mut writer = fs::File::create(file).await?;
        writer.write_all(text.as_bytes()).await?;
        writer.sync_all().await
    }

    fn file(&self, organization_id: &str) -> PathBuf {
        // Ids are letters and digits. Any other character is escaped, so that no name leads out of the folder.
        let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
        let name: String = organization_id
            .chars()
            .map(|character| {
                if plain(character) { character.to_string() } else { format!("%{:x}", u32::from(character)) }
            })
            .collect();
        self.folder.join(format!("{name}.note"))
    }
}

/// A rename survives a crash once the folder is synced.
async fn sync_folder(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder).await?.sync_all().await
}
