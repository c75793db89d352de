//! What was signed last, in files beside the signing key: one note for each organization.
//!
//! A database that was restored from a backup has forgotten what was signed since. These files have not, and that is
//! how a second history is noticed before it is signed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::AsyncWriteExt as _;

use super::Signed;

/// The folder of the notes.
#[derive(Debug, Clone)]
pub struct Memory {
    folder: PathBuf,
}

impl Memory {
    /// The memory in this folder, which is created when there is something to remember.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// What was signed last of an organization. A file that is there and cannot be understood is an error: it may be
    /// all that stands between us and a second history.
    pub async fn recall(&self, organization_id: &str) -> std::io::Result<Option<Signed>> {
        let note = match fs::read_to_string(self.file(organization_id)).await {
            Ok(note) => note,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Signed::read(note).map(Some).map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))
    }

    /// Remembers a checkpoint, so that it outlives a crash right afterwards.
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
        // Ids are ours, letters and digits; whatever else there may be must not lead out of the folder.
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

/// A rename outlives a crash once its folder is on the disk.
async fn sync_folder(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder).await?.sync_all().await
}
