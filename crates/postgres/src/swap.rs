//! A cluster that was filled for another major version takes the place of the old one.
//!
//! The names in the home tell how far that is, so that a process that is killed at any moment leaves one whole cluster:
//!
//! 1. `cluster` is the old one. The new one is somewhere else.
//! 2. `cluster.upgraded` is the new one, which is complete. If the process is killed here, the old one goes on.
//! 3. `cluster` is renamed to `cluster-of-postgres-15`. If the process is killed here, the next start does the last step.
//! 4. `cluster.upgraded` is renamed to `cluster`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cluster::{CLUSTER, remove};
use crate::home::Home;

/// Name of the new cluster when it is complete, until it takes the place of the old one.
const UPGRADED: &str = "cluster.upgraded";

/// Where the old cluster is kept.
pub(crate) fn kept(home: &Home, major: u32) -> PathBuf {
    home.join(&format!("cluster-of-postgres-{major}"))
}

/// Whether a cluster waits for the last step.
pub(crate) fn is_begun(home: &Path) -> bool {
    home.join(UPGRADED).exists()
}

/// Takes a complete cluster of a server that does not run, and keeps the old one, which does not run either.
pub(crate) fn swap(home: &Home, new: &Path, kept: &Path) -> anyhow::Result<()> {
    rename(home, new, &home.join(UPGRADED))?;
    rename(home, &home.join(CLUSTER), kept)?;
    finish(home)
}

/// Does the last step if it is left to do. A new cluster whose old one is still in place is removed: events may have been written
/// to the old one since.
pub(crate) fn finish(home: &Home) -> anyhow::Result<()> {
    if !is_begun(&home.folder) {
        return Ok(());
    }
    if home.join(CLUSTER).exists() {
        return remove(&home.join(UPGRADED));
    }
    rename(home, &home.join(UPGRADED), &home.join(CLUSTER))
}

/// Renames a folder. The new name survives a power cut.
fn rename(home: &Home, from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
    File::open(&home.folder)?.sync_all().context("cannot flush the folder of the cluster")
}
