//! How much room a file system has.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Log that Postgres writes between two checkpoints: `max_wal_size` of a new cluster.
const MAX_LOG_BYTES: u64 = 4 << 30;

/// An empty cluster with its first files of log.
const EMPTY_CLUSTER_BYTES: u64 = 256 << 20;

/// How much room a second copy of a database needs, with a backup of it beside.
pub(crate) fn of_second_copy(database_bytes: u64) -> u64 {
    let log = database_bytes.min(MAX_LOG_BYTES);
    database_bytes.saturating_mul(2).saturating_add(log).saturating_add(EMPTY_CLUSTER_BYTES)
}

/// Fails if a folder has less room than this.
pub(crate) fn check(folder: &Path, needed: u64) -> anyhow::Result<()> {
    let free = free(folder)?;
    ensure!(
        free >= needed,
        "{} needs {} MiB of free disk space for this, and has {} MiB: make room",
        folder.display(),
        needed.div_ceil(1 << 20),
        free >> 20
    );
    Ok(())
}

/// Asks `df`, because the standard library does not know how much room there is.
fn free(folder: &Path) -> anyhow::Result<u64> {
    let context = || format!("cannot tell how much room {} has", folder.display());
    let output = Command::new("df").arg("-Pk").arg(folder).output().with_context(context)?;
    kilobytes(&String::from_utf8_lossy(&output.stdout)).map(|free| free << 10).with_context(context)
}

/// The column before the percentage, in the last line. Names of file systems may have spaces.
pub(crate) fn kilobytes(printed: &str) -> Option<u64> {
    let mut words = printed.lines().last()?.split_whitespace();
    let mut before = words.next()?;
    for word in words {
        if word.ends_with('%') {
            return before.parse().ok();
        }
        before = word;
    }
    None
}
