//! The private Postgres of a data directory: which process starts it, and which one stops it.
//!
//! Without a database URL, all commands of identityd on one data directory share one Postgres. A process that needs it
//! attaches to the running server, or starts it, and has a shared file lock while it uses the server. The last process
//! to release that lock stops the server. The kernel releases the locks of a process that dies, so a killed service
//! leaves nothing to clean up: the server runs on, the next process attaches to it, and stops it at its end.
//!
//! This crate needs no other one of ours. It knows the names of the service's database, of its roles, and of the commands that
//! its errors advise.
//!
//! [`PrivatePostgres`] is one use of it; [`upgrade`] moves the data to another major version; [`stop`] tells work that waits to
//! give up.
//!
//! Starting and stopping happen only under the exclusive starter lock. Everything here blocks: call it from
//! `tokio::task::spawn_blocking`.

mod account;
mod binaries;
mod cluster;
mod home;
mod leftovers;
mod locks;
mod server;
mod socket;
mod space;
pub mod stop;
mod swap;
#[cfg(test)]
mod tests;
mod tool;
pub mod upgrade;

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use cluster::{CLUSTER, DATABASE, OWNER};
use home::Home;
use server::Server;
use stop::Stop;
use tool::Outcome;

/// Name of the role that serves, which owns nothing.
const SERVICE: &str = "identityd_service";

/// How long after this process was told to stop it still waits for the starter lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(8);

/// One use of the private Postgres of a data directory.
#[derive(Debug)]
pub struct PrivatePostgres {
    server: Server,
    /// The shared lock that says the server is in use; none once it has been given back.
    in_use: Option<File>,
    stop: Stop,
}

impl PrivatePostgres {
    /// Attaches to the Postgres of this data directory. Creates the directory and the cluster where they are missing,
    /// and starts the server where it does not run.
    pub fn open(data_dir: &Path) -> anyhow::Result<Self> {
        Self::open_until(data_dir, Stop::never())
    }

    /// The same, but given up when the process is told to stop. A server that was starting is ended then, unless another
    /// process uses it. From then on [`close`](Self::close) has a time limit as well.
    pub fn open_until(data_dir: &Path, stop: Stop) -> anyhow::Result<Self> {
        let home = Home::of(data_dir)?;
        leftovers::remove_abandoned(data_dir, &home, &stop);
        Self::open_home(home, stop)
    }

    fn open_home(home: Home, stop: Stop) -> anyhow::Result<Self> {
        let starter = locks::starter(&home, || stop.is_told())?;
        let starter = starter.context("told to stop while another process started Postgres")?;
        // Taken before the server starts: if this process dies half-way, the next one finds the same picture as after
        // the death of any other user.
        let in_use = locks::user(&home)?;
        let mut this = Self { server: Server::of(home)?, in_use: Some(in_use), stop };
        let outcome = this.server.ensure_running(&starter, &this.stop);
        drop(starter);
        match outcome {
            Ok(is_first) => {
                if is_first {
                    binaries::warn_of_newer(cluster::major(this.server.home())?);
                }
                Ok(this)
            }
            Err(error) => this.give_back().and(Err(error)),
        }
    }

    /// Whether this data directory has no cluster. A cluster that this account may not see counts as there, and so does a
    /// link whose target is gone.
    pub fn is_missing(data_dir: &Path) -> bool {
        let home = data_dir.join("postgres");
        let is_missing = |path: &Path| {
            std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
        };
        let has_none = || is_missing(&home.join(CLUSTER)) && !swap::is_begun(&home);
        is_missing(&home) || (home.is_dir() && has_none())
    }

    /// Where the database is, as a `postgres://` URL over the Unix socket. The role is the one that owns the tables.
    pub fn url(&self) -> String {
        self.url_of(OWNER)
    }

    /// The same for the role that serves.
    pub fn service_url(&self) -> String {
        self.url_of(SERVICE)
    }

    fn url_of(&self, role: &str) -> String {
        let folder = percent_encode(self.server.socket_folder().as_os_str().as_bytes(), NON_ALPHANUMERIC);
        // All parts are given, since sqlx takes missing ones from PGPORT, PGSSLMODE and other variables.
        format!("postgres://{role}@{folder}:{port}/{DATABASE}?sslmode=disable", port = socket::PORT)
    }

    /// Ends this use of the server, and stops the server if no other process uses it.
    pub fn close(mut self) -> anyhow::Result<()> {
        self.give_back()
    }

    fn give_back(&mut self) -> anyhow::Result<()> {
        let Some(in_use) = self.in_use.take() else { return Ok(()) };
        let gives_up = || self.stop.since().is_some_and(|told| told.elapsed() > LOCK_TIMEOUT);
        let starter = locks::starter(self.server.home(), gives_up)?;
        drop(in_use);
        // A process that has the lock for so long uses the server, and will stop it.
        let Some(starter) = starter else { return Ok(()) };
        if locks::is_unused(self.server.home())?
            && self.server.stop(&starter, &self.stop)? == Outcome::GivenUp
        {
            // Nothing that is stored is lost, and the next process that uses the server stops it.
            tracing::warn!("{}", self.server.still_runs());
        }
        Ok(())
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
