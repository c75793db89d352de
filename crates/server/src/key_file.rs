//! Files with a key that nobody else can read.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use identity_terminal::input;
use secrecy::{ExposeSecret as _, SecretString};

/// The largest file, in bytes. A key is one line.
const MAX_BYTES: u64 = 64 * 1024;

/// The text of a key file, if there is one. A file that is open to other users is an error.
pub(crate) fn read(file: &Path) -> anyhow::Result<Option<SecretString>> {
    match input::read_text(file, MAX_BYTES) {
        Ok(text) => {
            check_private(file)?;
            Ok(Some(text.into()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Makes a key file with this text, unless there is one. Two processes may do this at the same time: the one that links its
/// file first has made the key of both.
pub(crate) fn make(file: &Path, text: &SecretString) -> std::io::Result<()> {
    let draft = file.with_extension(format!("{}.new", std::process::id()));
    // Left behind by a process of this id that was killed while it wrote.
    drop(fs::remove_file(&draft));
    write_private(&draft, text)?;
    match fs::hard_link(&draft, file) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => fs::remove_file(&draft),
    }
}

/// Makes a folder that is private to this account, unless there is one.
pub(crate) fn make_folder(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes the folder private to this account, whatever the umask is. Older versions made it open to others.
pub(crate) fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    make_folder(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

fn write_private(file: &Path, text: &SecretString) -> std::io::Result<()> {
    // A file that is there already may be a link to another one.
    let mut writer = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(writer, "{}", text.expose_secret())?;
    writer.sync_all()
}

/// A user who can read a key can do what its owner can, so the file must be private.
fn check_private(file: &Path) -> anyhow::Result<()> {
    let mode = fs::metadata(file)?.permissions().mode() & 0o777;
    let others = mode & 0o077;
    ensure!(others == 0, "{} is open to other users (mode {mode:o}, should be 600)", file.display());
    Ok(())
}
