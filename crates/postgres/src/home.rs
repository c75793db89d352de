//! The folder of the cluster of a data directory, and the account that owns it.
//!
//! Normally that is the folder `postgres` in the data directory. Where the account of the server cannot reach it (root
//! in a clone below /root), that name is a symbolic link to a folder below [`OUTSIDE`]; the link, not the path of the
//! data directory, decides from then on, so that a data directory can be moved.

use std::fs::{self, DirBuilder, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::account::{Account, ROOT};

/// Where clusters live whose data directory the account of the server cannot reach.
const OUTSIDE: &str = "/var/lib/identityd";

/// The folder of a cluster, its locks, its socket and its log. Only its account may enter.
#[derive(Debug)]
pub(crate) struct Home {
    /// The folder, free of symbolic links.
    pub(crate) folder: PathBuf,
    /// Who owns it and runs the server.
    pub(crate) account: Account,
}

impl Home {
    /// The home that belongs to a data directory; both are created where missing.
    pub(crate) fn of(data_dir: &Path) -> anyhow::Result<Self> {
        let data_dir = created(data_dir)?;
        let name = data_dir.join("postgres");
        match fs::metadata(&name) {
            Ok(metadata) => Self::existing(&name, &metadata),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::new(&data_dir, &name),
            Err(error) => Err(error).with_context(|| format!("cannot open {}", name.display())),
        }
    }

    /// A file or folder of the home.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A program that runs under the account of the server, in the home.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = self.account.command(program);
        command.current_dir(&self.folder);
        command
    }

    fn existing(name: &Path, metadata: &Metadata) -> anyhow::Result<Self> {
        let account = Account::owning(name, metadata)?;
        check_link(name, account)?;
        let folder = resolved(name)?;
        private_folder(&folder, account)?;
        account.check_can_enter(&folder)?;
        Ok(Self { folder, account })
    }

    fn new(data_dir: &Path, name: &Path) -> anyhow::Result<Self> {
        if let Ok(target) = fs::read_link(name) {
            let (name, target) = (name.display(), target.display());
            bail!("{name} points to {target}, which is gone: restore it, or remove the link to start empty");
        }
        let account = Account::for_new_cluster()?;
        if account.can_enter(data_dir) {
            private_folder(name, account)?;
            Ok(Self { folder: resolved(name)?, account })
        } else {
            Self::outside(data_dir, name, account)
        }
    }

    fn outside(data_dir: &Path, name: &Path, account: Account) -> anyhow::Result<Self> {
        let outside = created(Path::new(OUTSIDE))?;
        account.check_can_enter(&outside).with_context(|| {
            format!("the database can live neither in {} nor in {OUTSIDE}", data_dir.display())
        })?;
        let folder = outside.join(digest(data_dir));
        private_folder(&folder, account)?;
        match std::os::unix::fs::symlink(&folder, name) {
            Ok(()) => tracing::warn!(
                "the user `postgres` cannot reach {}, so the database lives in {}",
                data_dir.display(),
                folder.display()
            ),
            // Another process was faster; it has chosen the same folder.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot create {}", name.display())),
        }
        Ok(Self { folder, account })
    }
}

/// A folder that only the account may enter. An existing folder must be private already: in a shared place such as /tmp
/// another user may have prepared it, and the socket asks for no password.
pub(crate) fn private_folder(folder: &Path, account: Account) -> anyhow::Result<()> {
    match new_folder(folder, 0o700) {
        Ok(()) => hand_over(folder, account),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check_private(folder, account),
        Err(error) => Err(error).with_context(|| format!("cannot create {}", folder.display())),
    }
}

/// Twelve hexadecimal digits that stand for a path where the path itself would be too long.
pub(crate) fn digest(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_bytes());
    let start = digest.iter().take(6).fold(0, |start, byte| start << 8 | u64::from(*byte));
    format!("{start:012x}")
}

fn check_private(folder: &Path, account: Account) -> anyhow::Result<()> {
    let metadata =
        fs::symlink_metadata(folder).with_context(|| format!("cannot open {}", folder.display()))?;
    ensure!(metadata.is_dir(), "{} is not a folder", folder.display());
    let owner = metadata.uid();
    if owner == ROOT && matches!(account, Account::Other { .. }) {
        // We are root. An earlier start was stopped between making the folder and handing it over, or another one is doing it.
        hand_over(folder, account)?;
    } else {
        ensure!(owner == account.uid()?, "{} belongs to the user with id {owner}", folder.display());
    }
    let mode = metadata.permissions().mode() & 0o777;
    ensure!(mode == 0o700, "{} is open to other users (mode {mode:o}, should be 700)", folder.display());
    Ok(())
}

fn hand_over(folder: &Path, account: Account) -> anyhow::Result<()> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY)
        .open(folder)
        .with_context(|| format!("cannot open {}", folder.display()))?;
    account.take_over(&opened, folder)
}

/// Root follows a link to the home only if root has made it. Otherwise the owner of the data directory could have any
/// folder of root's handed over.
fn check_link(name: &Path, account: Account) -> anyhow::Result<()> {
    let metadata = fs::symlink_metadata(name).with_context(|| format!("cannot open {}", name.display()))?;
    let is_foreign = metadata.is_symlink() && metadata.uid() != ROOT && account != Account::Own;
    ensure!(
        !is_foreign,
        "{} is a link that the user with id {} has made; root does not follow it: run identityd as that user",
        name.display(),
        metadata.uid()
    );
    Ok(())
}

/// The folder, free of symbolic links. It and the folders above are created where they are missing, in a mode that lets
/// other accounts pass but not list them, whatever the umask is.
fn created(folder: &Path) -> anyhow::Result<PathBuf> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|above| is_missing(above)).collect();
    for missing in missing.into_iter().rev() {
        match new_folder(missing, 0o711) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.with_context(|| format!("cannot create {}", missing.display()))?,
        }
    }
    resolved(folder)
}

fn is_missing(folder: &Path) -> bool {
    let missing = fs::metadata(folder).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    missing && !folder.as_os_str().is_empty()
}

/// A new folder of exactly this mode, whatever the umask is.
fn new_folder(folder: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(mode))
}

fn resolved(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize().with_context(|| format!("cannot resolve {}", path.display()))
}
