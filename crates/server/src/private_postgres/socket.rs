//! Where the socket of the server is: in the home, or in a short folder when the home's path is too long.

use std::path::{Path, PathBuf};

use super::home::{Home, digest, private_folder};

/// Part of the socket's file name, and no port of the machine.
pub(super) const PORT: u16 = 5432;

/// What the kernel has room for in the address of a Unix socket, the closing zero not counted.
const LONGEST_PATH: usize = 107;

/// Whose path is short everywhere. Not the folder that TMPDIR names: all processes have to agree.
const SHORT: &str = "/tmp";

/// The folder of the socket.
#[derive(Debug)]
pub(super) struct SocketFolder {
    /// As clients see it.
    pub(super) path: PathBuf,
    /// As the server sees it from its cluster. Made of letters that need no quoting, since `pg_ctl` hands it to a
    /// shell and Postgres reads it as a list.
    pub(super) as_server_option: String,
}

impl SocketFolder {
    /// The folder of this home, created where missing. Connections ask for no password, so its mode is what keeps
    /// others out.
    pub(super) fn of(home: &Home) -> anyhow::Result<Self> {
        let inside = home.join("socket");
        let chosen = if file(&inside).as_os_str().len() <= LONGEST_PATH {
            Self { path: inside, as_server_option: "../socket".to_owned() }
        } else {
            let short = format!("{SHORT}/identityd-{}", digest(&home.folder));
            Self { path: PathBuf::from(&short), as_server_option: short }
        };
        private_folder(&chosen.path, home.account)?;
        Ok(chosen)
    }

    /// The socket itself.
    pub(super) fn file(&self) -> PathBuf {
        file(&self.path)
    }

    /// What Postgres writes beside the socket to keep a second server away from it.
    pub(super) fn lock_file(&self) -> PathBuf {
        self.path.join(format!(".s.PGSQL.{PORT}.lock"))
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join(format!(".s.PGSQL.{PORT}"))
}
