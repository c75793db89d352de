//! The two file locks of a home: one shared by all processes that use the server, one for the process that starts or stops
//! it.
//!
//! A lock lasts until the last open copy of its file is closed, in any process. A dead process has none.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use crate::home::Home;

/// How often a lock that another process has is tried.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How often it is asked whether the server has users.
const UNUSED_ATTEMPTS: u32 = 5;

/// A child needs less time than this from its fork to the execution of its program.
const FORK_TIME: Duration = Duration::from_millis(10);

/// Waits until no process starts or stops the server, and takes the lock for that. Gives `None` if `gives_up` does.
pub(crate) fn starter(home: &Home, gives_up: impl Fn() -> bool) -> anyhow::Result<Option<File>> {
    let file = opened(home, "starter.lock")?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if gives_up() => return Ok(None),
            Err(TryLockError::WouldBlock) => sleep(LOOK_AGAIN),
            Err(TryLockError::Error(error)) => {
                return Err(anyhow!(error).context("cannot wait for another start of Postgres"));
            }
        }
    }
}

/// Counts this process among the users of the server. Does not wait: the lock is taken exclusively only by a process that
/// has the starter lock, and the caller has that.
pub(crate) fn user(home: &Home) -> anyhow::Result<File> {
    let file = opened(home, USERS)?;
    file.lock_shared().context("cannot lock the list of users of Postgres")?;
    Ok(file)
}

/// Whether no process uses the server. This stays true while the caller has the starter lock.
///
/// The lock that the caller has released can live on for a moment: a child that this process has forked has a copy of the
/// file until it executes its program. So the answer "no" is asked for more than once.
pub(crate) fn is_unused(home: &Home) -> anyhow::Result<bool> {
    let users = opened(home, USERS)?;
    for attempt in 1.. {
        match users.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if attempt < UNUSED_ATTEMPTS => sleep(FORK_TIME),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => {
                return Err(anyhow!(error).context("cannot tell who uses Postgres"));
            }
        }
    }
    Ok(true)
}

const USERS: &str = "users.lock";

fn opened(home: &Home, name: &str) -> anyhow::Result<File> {
    let path = home.join(name);
    let file = existing_or_new(&path).with_context(|| format!("cannot open {}", path.display()))?;
    home.account.take_over(&file, &path)?;
    Ok(file)
}

/// A lock needs no right to write, so a file of another account will do. Links are not followed: root would create or
/// hand over their targets.
fn existing_or_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => options.append(true).create(true).open(path),
        opened => opened,
    }
}
