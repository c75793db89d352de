//! The system account that Postgres runs under: our own, or another one if we are root, since Postgres refuses to run as
//! root.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The user id of root.
pub(crate) const ROOT: u32 = 0;

/// How much is read of a file of the account at most, from its end, in bytes.
const MAX_TEXT_BYTES: u64 = 65_536;

/// The account of the server and of its tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// The one this process runs under.
    Own,
    /// Another one, which only root can switch to.
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// The account for a cluster that is to be created.
    pub(crate) fn for_new_cluster() -> anyhow::Result<Self> {
        if own_uid()? == ROOT { postgres() } else { Ok(Self::Own) }
    }

    /// The account that an existing cluster belongs to.
    pub(crate) fn owning(folder: &Path, metadata: &Metadata) -> anyhow::Result<Self> {
        match (own_uid()?, metadata.uid()) {
            // Root makes the folder before it hands it over, so it may be found in between.
            (ROOT, ROOT) => postgres(),
            (ROOT, uid) => Ok(Self::Other { uid, gid: metadata.gid() }),
            (own, owner) if own == owner => Ok(Self::Own),
            (_, owner) => {
                bail!("{} belongs to the user with id {owner}, run identityd as that user", folder.display())
            }
        }
    }

    /// The user id that files of the cluster must have.
    pub(crate) fn uid(self) -> anyhow::Result<u32> {
        match self {
            Self::Own => own_uid(),
            Self::Other { uid, .. } => Ok(uid),
        }
    }

    /// Makes the account the owner of an open file or folder that root has created. A file with a second name is left
    /// alone: that name may be another's.
    pub(crate) fn take_over(self, file: &File, path: &Path) -> anyhow::Result<()> {
        let Self::Other { uid, gid } = self else { return Ok(()) };
        let metadata = file.metadata()?;
        let is_new = metadata.uid() == ROOT && (metadata.is_dir() || metadata.nlink() == 1);
        if is_new {
            std::os::unix::fs::fchown(file, Some(uid), Some(gid))
                .with_context(|| format!("cannot change the owner of {}", path.display()))?;
        }
        Ok(())
    }

    /// The end of a text file of the account, read with its own rights: root would follow a link to anywhere.
    pub(crate) fn read(self, path: &Path) -> io::Result<String> {
        self.read_end(path, MAX_TEXT_BYTES)
    }

    /// The same of the last `bytes` of the file, if that is less.
    pub(crate) fn read_end(self, path: &Path, bytes: u64) -> io::Result<String> {
        let bytes = bytes.min(MAX_TEXT_BYTES);
        let read = match self {
            Self::Own => end_of(path, bytes),
            Self::Other { uid, .. } => {
                let mut command = self.command(Path::new("tail"));
                let output = command.args(["-c", &bytes.to_string(), "--"]).arg(path).output()?;
                if output.status.success() { Ok(output.stdout) } else { Err(why(&output.stderr, uid)) }
            }
        };
        read.map(|text| String::from_utf8_lossy(&text).into_owned())
    }

    /// The first folder on the way to this one that the account may not enter, and what to do.
    pub(crate) fn check_can_enter(self, folder: &Path) -> anyhow::Result<()> {
        if self == Self::Own || self.can_enter(folder) {
            return Ok(());
        }
        let above: Vec<&Path> = folder.ancestors().collect();
        let closed = above.into_iter().rev().find(|above| !self.can_enter(above)).unwrap_or(folder);
        bail!(
            "the account that runs Postgres cannot enter {closed}: let it pass with `chmod o+x {closed}`, or choose \
             another data directory with --data-dir",
            closed = closed.display()
        )
    }

    /// Whether the account may enter the folder. Asks the system rather than reading modes, which would miss access
    /// lists and the permissions of the folders above.
    pub(crate) fn can_enter(self, folder: &Path) -> bool {
        self.command(Path::new("test")).arg("-x").arg(folder).status().is_ok_and(|status| status.success())
    }

    /// A command that runs under this account, away from our environment and our terminal.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // PGDATA, PGPORT, PGOPTIONS and their like would change what the tools do, and LC_ALL what they say.
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C");
        // Ctrl-C in a terminal goes to the whole process group; the server must outlive it until we have drained.
        command.process_group(0).stdin(Stdio::null()).current_dir("/");
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }
}

fn end_of(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut end = vec![];
    file.read_to_end(&mut end)?;
    Ok(end)
}

/// The error of a file that `tail` has not read as this user. `tail` names the file before the reason.
fn why(said: &[u8], uid: u32) -> io::Error {
    let said = String::from_utf8_lossy(said);
    match said.trim().rsplit(": ").next().unwrap_or_default() {
        "No such file or directory" => ErrorKind::NotFound.into(),
        reason => io::Error::other(format!("{reason} (for the user with id {uid}, who runs Postgres)")),
    }
}

fn own_uid() -> anyhow::Result<u32> {
    id(&["-u"]).context("cannot tell which user this is")
}

fn postgres() -> anyhow::Result<Account> {
    let uid = id(&["-u", "postgres"]);
    let gid = id(&["-g", "postgres"]);
    uid.zip(gid)
        .map(|(uid, gid)| Account::Other { uid, gid })
        .context("Postgres does not run as root and there is no user `postgres` (Debian package: postgresql)")
}

/// Asks `id`, because the standard library knows neither the effective user nor the user database.
fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
