//! Texts in files of one folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::AsyncWriteExt as _;

use crate::event::ids;

/// The end of the name of a file whose text was brought to the shared place. Such a file is not read any more.
const BROUGHT: &str = "brought";

/// A folder. It is created with its first file.
#[derive(Debug, Clone)]
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The text of a file, if there is one. A file that cannot be read is an error: it may be the only trace of what was signed.
    pub(super) async fn read(&self, name: &str) -> std::io::Result<Option<String>> {
        let path = self.folder.join(name);
        match fs::read_to_string(&path).await {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        }
    }

    /// All files whose names end with this.
    pub(super) async fn names(&self, extension: &str) -> std::io::Result<Vec<String>> {
        let mut files = match fs::read_dir(&self.folder).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
            files => files?,
        };
        let mut names = vec![];
        while let Some(file) = files.next_entry().await? {
            let name = file.file_name();
            if Path::new(&name).extension().is_some_and(|found| found == extension) {
                names.extend(name.into_string());
            }
        }
        Ok(names)
    }

    /// Writes a file, in place of one that is there. When this returns, the file survives a crash.
    pub(super) async fn write(&self, name: &str, text: &str) -> std::io::Result<()> {
        let draft = self.folder.join(name).with_extension("draft");
        self.write_draft(&draft, text).await?;
        fs::rename(&draft, self.folder.join(name)).await?;
        self.sync().await
    }

    /// Writes a file, unless it is there.
    pub(super) async fn write_new(&self, name: &str, text: &str) -> std::io::Result<()> {
        let draft = self.folder.join(format!("{name}.{}", ids::mint()));
        self.write_draft(&draft, text).await?;
        let linked = fs::hard_link(&draft, self.folder.join(name)).await;
        fs::remove_file(&draft).await?;
        if let Err(error) = linked
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        self.sync().await
    }

    /// Gives a file, if it is there, a name under which it is not read any more.
    pub(super) async fn retire(&self, name: &str) -> std::io::Result<()> {
        match fs::rename(self.folder.join(name), self.folder.join(format!("{name}.{BROUGHT}"))).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync().await,
        }
    }

    async fn write_draft(&self, draft: &Path, text: &str) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder).await?;
        let mut writer = fs::File::create(draft).await?;
        writer.write_all(text.as_bytes()).await?;
        // Tokio reports a failed write, as on a full disk, from the next call. `sync_all` would drop that error; `flush` returns it.
        writer.flush().await?;
        writer.sync_all().await
    }

    /// A rename survives a crash once the folder is synced.
    async fn sync(&self) -> std::io::Result<()> {
        fs::File::open(&self.folder).await?.sync_all().await
    }
}
