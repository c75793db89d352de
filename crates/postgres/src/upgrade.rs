//! Moves a private Postgres to another major version. The caller copies the data from the old cluster, which nobody else can use
//! meanwhile, to a new one beside it, which takes its place in the end (`swap.rs`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::binaries::Binaries;
use crate::cluster::{self, CLUSTER};
use crate::home::Home;
use crate::leftovers::{self, BACKUP};
use crate::server::Server;
use crate::stop::Stop;
use crate::{PrivatePostgres, locks, space, swap};

/// What is to be done with a private Postgres.
#[derive(Debug)]
pub enum Plan {
    /// Nothing: it is of this major version.
    Nothing(u32),
    /// Its data is to be moved.
    Upgrade(Upgrade),
}

/// An upgrade of a private Postgres. It has the starter lock, so no other process can use that Postgres. If it is dropped before
/// it is finished, the old cluster is as it was.
#[derive(Debug)]
pub struct Upgrade {
    data_dir: PathBuf,
    /// The old server. It is not counted among the users of the server, since there are no others.
    old: PrivatePostgres,
    starter: fs::File,
    from: u32,
    binaries: Binaries,
    stop: Stop,
}

impl Upgrade {
    /// Begins an upgrade to this major version, or to the newest that is installed. Removes what an upgrade that was cut off has
    /// left.
    pub fn plan(data_dir: &Path, to: Option<u32>, stop: Stop) -> anyhow::Result<Plan> {
        let home = Home::of(data_dir)?;
        let starter = locks::starter(&home, || stop.is_told())?;
        let starter = starter.context("told to stop while another process started Postgres")?;
        ensure!(
            locks::is_unused(&home)?,
            "a process uses the private Postgres of this data directory: stop every service and every command first"
        );
        swap::finish(&home)?;
        leftovers::remove(data_dir, &home)?;
        let from = cluster::major(&home)?;
        let binaries = chosen(from, to)?;
        if binaries.major == from {
            return Ok(Plan::Nothing(from));
        }
        Binaries::of_major(from)?;
        refuse_second(&home, from)?;
        let old = PrivatePostgres { server: Server::of(home)?, in_use: None, stop: stop.clone() };
        Ok(Plan::Upgrade(Self { data_dir: data_dir.to_owned(), old, starter, from, binaries, stop }))
    }

    /// The major version of the old cluster.
    pub fn from(&self) -> u32 {
        self.from
    }

    /// The major version of the new cluster.
    pub fn to(&self) -> u32 {
        self.binaries.major
    }

    /// Where the data passes through.
    pub fn backup(&self) -> PathBuf {
        self.data_dir.join(BACKUP)
    }

    /// Starts the old server. Returns the URL of its database.
    pub fn start_old(&self) -> anyhow::Result<String> {
        self.old.server.ensure_running(&self.starter, &self.stop)?;
        Ok(self.old.url())
    }

    /// Fails if there is no room for a second copy of a database of this size and a backup of it.
    pub fn check_space(&self, database_bytes: u64) -> anyhow::Result<()> {
        let needed = space::of_second_copy(database_bytes);
        space::check(&self.data_dir, needed)?;
        space::check(&self.home().folder, needed)
    }

    /// Stops the old server.
    pub fn stop_old(&self) -> anyhow::Result<()> {
        self.old.server.end(&self.starter, &self.stop)
    }

    /// Makes the new cluster and starts its server. The caller closes it before it finishes the upgrade.
    pub fn open_new(&self) -> anyhow::Result<PrivatePostgres> {
        let new = leftovers::new_home(self.home())?;
        let starter = locks::starter(&new, || self.stop.is_told())?;
        let starter = starter.context("told to stop before the new cluster was made")?;
        cluster::create(&new, &self.binaries, &starter, &self.stop)?;
        drop(starter);
        PrivatePostgres::open_home(new, self.stop.clone())
    }

    /// Puts the new cluster in the place of the old one. Returns where the old one is kept.
    pub fn finish(&self) -> anyhow::Result<PathBuf> {
        let kept = swap::kept(self.home(), self.from);
        swap::swap(self.home(), &leftovers::new_home(self.home())?.join(CLUSTER), &kept)?;
        Ok(kept)
    }

    fn home(&self) -> &Home {
        self.old.server.home()
    }
}

impl Drop for Upgrade {
    /// Best effort: the next upgrade removes what is left.
    fn drop(&mut self) {
        let removed = self.stop_old().and_then(|()| leftovers::remove(&self.data_dir, self.home()));
        if let Err(error) = removed {
            tracing::warn!(error = format!("{error:#}"), "what the upgrade has made was not removed");
        }
    }
}

/// The server to upgrade to.
fn chosen(from: u32, to: Option<u32>) -> anyhow::Result<Binaries> {
    let Some(to) = to else { return Binaries::newest_from(from) };
    ensure!(
        to >= from,
        "the private Postgres is of version {from}: to go back to {to}, use `identityd backup` and `identityd restore`"
    );
    Binaries::installed_of_major(to)
}

/// The old cluster of an earlier upgrade from the same version may be all that somebody has.
fn refuse_second(home: &Home, from: u32) -> anyhow::Result<()> {
    let kept = swap::kept(home, from);
    ensure!(
        fs::symlink_metadata(&kept).is_err(),
        "{} is there from an earlier upgrade: remove it if you do not need it any more",
        kept.display()
    );
    Ok(())
}
