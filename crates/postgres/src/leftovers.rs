//! What an upgrade makes and needs only while it runs. If its process is killed, the next process that opens the private Postgres
//! removes it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;

use crate::home::{Home, private_folder};
use crate::server::Server;
use crate::stop::Stop;
use crate::{cluster, locks};

/// Name of the file in the data directory through which the data passes.
pub(crate) const BACKUP: &str = "postgres-upgrade.backup";

/// The same until it is complete.
const UNFINISHED_BACKUP: &str = "postgres-upgrade.backup.unfinished";

/// Name of the folder in the home that has the new cluster until it is complete. It is a home of its own.
const NEW_HOME: &str = "upgrade";

/// The home of the new cluster.
pub(crate) fn new_home(home: &Home) -> anyhow::Result<Home> {
    let folder = home.join(NEW_HOME);
    private_folder(&folder, home.account)?;
    Ok(Home { folder, account: home.account })
}

/// Removes what an upgrade has left that was killed. Waits for one that runs. What cannot be removed keeps nobody from the data.
pub(crate) fn remove_abandoned(data_dir: &Path, home: &Home, stop: &Stop) {
    if !are_there(data_dir, home) {
        return;
    }
    let removed = locks::starter(home, || stop.is_told()).and_then(|starter| match starter {
        Some(_starter) => remove(data_dir, home),
        None => Ok(()),
    });
    if let Err(error) = removed {
        tracing::warn!(
            error = format!("{error:#}"),
            "what an upgrade of Postgres has left cannot be removed"
        );
    }
}

fn are_there(data_dir: &Path, home: &Home) -> bool {
    [data_dir.join(BACKUP), data_dir.join(UNFINISHED_BACKUP), home.join(NEW_HOME)]
        .iter()
        .any(|path| is_there(path))
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The same for a process that has the starter lock. A server or a tool that a killed process has left is ended before.
pub(crate) fn remove(data_dir: &Path, home: &Home) -> anyhow::Result<()> {
    for name in [BACKUP, UNFINISHED_BACKUP] {
        remove_file(&data_dir.join(name))?;
    }
    if !is_there(&home.join(NEW_HOME)) {
        return Ok(());
    }
    let new = new_home(home)?;
    let folder = new.folder.clone();
    let starter = locks::starter(&new, || false)?.context("a new cluster is still being made")?;
    let server = Server::of(new)?;
    server.end(&starter, &Stop::never())?;
    cluster::remove(&folder)?;
    // With a long path the folder of the socket is elsewhere.
    drop(fs::remove_dir(server.socket_folder()));
    Ok(())
}

fn remove_file(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
