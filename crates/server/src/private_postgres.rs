//! The private Postgres of a data directory: who runs it, and for how long.
//!
//! With no database URL, every command of identityd shares one Postgres that belongs to the data directory. Whoever
//! needs it attaches to the running server or starts it, and holds a shared file lock for as long as it is in use; the
//! last one out stops the server. The kernel drops the locks of a process that dies, so a killed service leaves
//! nothing to clean up: the server goes on, and the next user attaches to it and takes over the duty to stop it.
//!
//! Starting and stopping happen only under the exclusive starter lock. Everything here blocks: call it from
//! `tokio::task::spawn_blocking`.

mod account;
mod binaries;
mod cluster;
mod home;
mod locks;
mod server;
mod socket;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use home::Home;
use server::Server;

/// Name of the database, and of the role that owns it.
const DATABASE: &str = "identityd";

/// One use of the private Postgres of a data directory.
#[derive(Debug)]
pub struct PrivatePostgres {
    server: Server,
    /// The shared lock that says the server is in use; none once it has been given back.
    in_use: Option<File>,
}

impl PrivatePostgres {
    /// Attaches to the Postgres of this data directory. Creates the directory and the cluster where they are missing,
    /// and starts the server where it does not run.
    pub fn open(data_dir: &Path) -> anyhow::Result<Self> {
        let home = Home::of(data_dir)?;
        let starter = locks::starter(&home)?;
        // Taken before the server starts: if this process dies half-way, the next one finds the same picture as after
        // the death of any other user.
        let in_use = locks::user(&home)?;
        let server = Server::of(home)?;
        server.ensure_running(&starter)?;
        Ok(Self { server, in_use: Some(in_use) })
    }

    /// Where the database is, as a `postgres://` URL over the Unix socket.
    pub fn url(&self) -> String {
        let folder = percent_encode(self.server.socket_folder().as_os_str().as_bytes(), NON_ALPHANUMERIC);
        // Everything is spelled out, since sqlx fills what a URL leaves open from PGPORT, PGSSLMODE and the like.
        format!("postgres://{DATABASE}@{folder}:{port}/{DATABASE}?sslmode=disable", port = socket::PORT)
    }

    /// Gives the server back, and stops it if nobody else uses it.
    pub fn close(mut self) -> anyhow::Result<()> {
        self.give_back()
    }

    fn give_back(&mut self) -> anyhow::Result<()> {
        let Some(in_use) = self.in_use.take() else { return Ok(()) };
        let starter = locks::starter(self.server.home())?;
        drop(in_use);
        if locks::is_unused(self.server.home())? { self.server.stop(&starter) } else { Ok(()) }
    }
}

impl Drop for PrivatePostgres {
    /// Best effort, for ways out that do not pass by `close`: an error has nowhere to go but the log.
    fn drop(&mut self) {
        if let Err(error) = self.give_back() {
            tracing::warn!(error = format!("{error:#}"), "the private Postgres was not stopped");
        }
    }
}
