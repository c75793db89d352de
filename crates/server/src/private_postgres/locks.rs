//! The two file locks of a home: who uses the server, and who may start or stop it.
//!
//! A lock lives as long as an open copy of its file, in whichever process; a dead process holds none.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context as _, anyhow};

use super::home::Home;

/// Waits until nobody starts or stops the server, and keeps it so.
pub(super) fn starter(home: &Home) -> anyhow::Result<File> {
    let file = opened(home, "starter.lock")?;
    file.lock().context("cannot wait for another start of Postgres")?;
    Ok(file)
}

/// Counts this process among the users of the server. Does not wait, since whoever holds the lock exclusively does so
/// for a moment under the starter lock, which the caller has.
pub(super) fn user(home: &Home) -> anyhow::Result<File> {
    let file = opened(home, USERS)?;
    file.lock_shared().context("cannot lock the list of users of Postgres")?;
    Ok(file)
}

/// Whether nobody uses the server. True for as long as the caller holds the starter lock.
pub(super) fn is_unused(home: &Home) -> anyhow::Result<bool> {
    match opened(home, USERS)?.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(anyhow!(error).context("cannot tell who uses Postgres")),
    }
}

const USERS: &str = "users.lock";

fn opened(home: &Home, name: &str) -> anyhow::Result<File> {
    let path = home.join(name);
    let file = existing_or_new(&path).with_context(|| format!("cannot open {}", path.display()))?;
    home.account.take_over(&path)?;
    Ok(file)
}

/// A lock needs no right to write, so a file that somebody else has made serves as well.
fn existing_or_new(path: &Path) -> io::Result<File> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            OpenOptions::new().read(true).append(true).create(true).open(path)
        }
        opened => opened,
    }
}
