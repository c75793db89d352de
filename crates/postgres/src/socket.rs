//! The folder of the server's socket: in the home, or elsewhere if the path of the home is too long for a socket.

use std::path::{Path, PathBuf};

use crate::home::{Home, digest, private_folder};

/// Part of the socket's file name, and no port of the machine.
pub(crate) const PORT: u16 = 5432;

/// The longest path of a Unix socket, in bytes, without the closing zero.
const MAX_PATH_BYTES: usize = 107;

/// The parent folder if the home is too long. Not TMPDIR, since all processes must use the same folder.
const SHORT_PARENT: &str = "/tmp";

/// The folder of the socket.
#[derive(Debug)]
pub(crate) struct SocketFolder {
    /// As clients see it.
    pub(crate) path: PathBuf,
    /// As the server sees it from its cluster. Made of letters that need no quoting, since `pg_ctl` hands it to a
    /// shell and Postgres reads it as a list.
    pub(crate) as_server_option: String,
}

impl SocketFolder {
    /// The folder of this home, created where missing. Connections ask for no password, so its mode is what keeps
    /// others out.
    pub(crate) fn of(home: &Home) -> anyhow::Result<Self> {
        let inside = home.join("socket");
        let chosen = if file(&inside).as_os_str().len() <= MAX_PATH_BYTES {
            Self { path: inside, as_server_option: "../socket".to_owned() }
        } else {
            let short = format!("{SHORT_PARENT}/identityd-{}", digest(&home.folder));
            Self { path: PathBuf::from(&short), as_server_option: short }
        };
        private_folder(&chosen.path, home.account)?;
        Ok(chosen)
    }

    /// The socket itself.
    pub(crate) fn file(&self) -> PathBuf {
        file(&self.path)
    }

    /// The lock file that Postgres writes beside the socket.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.path.join(format!(".s.PGSQL.{PORT}.lock"))
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join(format!(".s.PGSQL.{PORT}"))
}
