//! A file that gets its name when it is complete. Until then it has another one, so that a process that is killed leaves nothing
//! that looks whole.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// What the name ends with until the file is complete.
const SUFFIX: &str = ".unfinished";

/// A file that is being written. It is removed if it is dropped before it is finished.
#[derive(Debug)]
pub struct Unfinished {
    file: File,
    path: PathBuf,
    name: PathBuf,
}

impl Unfinished {
    /// Creates a file that only this account can read. What an earlier process has left of it is overwritten.
    pub fn create(name: &Path) -> anyhow::Result<Self> {
        ensure!(fs::symlink_metadata(name).is_err(), "{} is there already", name.display());
        let mut path = name.as_os_str().to_owned();
        path.push(SUFFIX);
        let path = PathBuf::from(path);
        let context = || format!("cannot create {}", path.display());
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(&path).with_context(context)?;
        // A process that has finished meanwhile has removed the name of the file that was opened here.
        ensure!(
            file.try_lock().is_ok() && is_at(&file, &path).with_context(context)?,
            "another process is writing {}",
            path.display()
        );
        file.set_permissions(Permissions::from_mode(0o600))
            .and_then(|()| file.set_len(0))
            .with_context(context)?;
        Ok(Self { file, path, name: name.to_owned() })
    }

    /// Where it is written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Flushes the file to disk and gives it its name, unless another file has it by now. When this returns, both survive a crash.
    pub fn finish(self) -> anyhow::Result<()> {
        let folder = self.name.parent().filter(|folder| !folder.as_os_str().is_empty());
        let named = self
            .file
            .sync_all()
            .and_then(|()| fs::hard_link(&self.path, &self.name))
            .and_then(|()| fs::remove_file(&self.path))
            .and_then(|()| File::open(folder.unwrap_or(Path::new(".")))?.sync_all());
        named.with_context(|| format!("cannot finish {}", self.name.display()))
    }
}

/// Whether this open file is the one at this path.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl Drop for Unfinished {
    /// If the file has its name, another process may have one of its own under this path by now.
    fn drop(&mut self) {
        if is_at(&self.file, &self.path).unwrap_or(false) {
            drop(fs::remove_file(&self.path));
        }
    }
}
