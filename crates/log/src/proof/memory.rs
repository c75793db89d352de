//! The last checkpoint of each organization, in one file each beside the signing key.
//!
//! A database that was restored from a backup does not contain what was signed since. These files do, so the signer
//! notices a second history before it signs it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::AsyncWriteExt as _;

use super::signed::Signed;

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
    pub async fn recall(&self, organization_id: &str) -> std::io::Result<Option<Signed>> {
        let note = match fs::read_to_string(self.file(organization_id)).await {
            Ok(note) => note,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Signed::read(note).map(Some).map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))
    }

    /// Stores a checkpoint. When this returns, the file survives a crash.
    pub async fn remember(&self, organization_id: &str, signed: &Signed) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder).await?;
        let file = self.file(organization_id);
        let draft = file.with_extension("draft");
        let mut writer = fs::File::create(&draft).await?;
        writer.write_all(signed.note.as_bytes()).await?;
        writer.sync_all().await?;
        fs::rename(&draft, &file).await?;
        sync_folder(&self.folder).await
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
