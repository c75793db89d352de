//! Creates a cluster. It gets its final name when it is complete; before that, the next start removes it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::binaries::Binaries;
use crate::home::Home;
use crate::stop::Stop;
use crate::tool::{self, Outcome};

/// Name of the database.
pub(crate) const DATABASE: &str = "identityd";

/// Name of the role that owns the database, a superuser. It migrates, and does not serve.
pub(crate) const OWNER: &str = "identityd";

/// Name of the cluster's folder in its home.
pub(crate) const CLUSTER: &str = "cluster";

/// Name of the folder while the cluster is being made.
const UNFINISHED: &str = "cluster.unfinished";

/// How long a cluster may still be made once this process was told to stop.
const FINISH_TIMEOUT: Duration = Duration::from_secs(6);

/// Starting values that an operator may change in the cluster's `postgresql.conf`.
fn settings() -> String {
    format!(
        "
# Set by identityd when it created this cluster; change them as you see fit.
max_connections = 100
shared_buffers = {}MB
max_wal_size = 4GB
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
",
        shared_buffers(memory())
    )
}

/// A quarter of the machine's memory in MiB, as the manual of Postgres advises (19.4.1), but no more than a cluster of
/// some million identities makes use of, and no less than the server's own default.
pub(crate) fn shared_buffers(memory: Option<u64>) -> u64 {
    memory.map_or(128, |memory| (memory / 4).clamp(128, 1024))
}

/// The machine's memory in MiB, where the system tells it in a file.
fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1024)
}

/// Creates the cluster and its database where there is none. The tool works under the starter lock, which it gets as
/// its input: if this process is killed, the next one waits until the tool has ended too. When the process is told to
/// stop, what is being made may be finished within `FINISH_TIMEOUT`; after that it is given up and removed.
pub(crate) fn create_if_missing(home: &Home, starter: &File, stop: &Stop) -> anyhow::Result<()> {
    if home.join(CLUSTER).exists() { Ok(()) } else { create(home, &Binaries::newest()?, starter, stop) }
}

/// Creates the cluster of a home that has none.
pub(crate) fn create(home: &Home, binaries: &Binaries, starter: &File, stop: &Stop) -> anyhow::Result<()> {
    remove_unfinished(home)?;
    tracing::info!("creating a Postgres cluster in {}", home.folder.display());
    if make(home, binaries, starter, stop)? == Outcome::GivenUp {
        remove_unfinished(home)?;
        bail!("told to stop while the cluster was being made");
    }
    finish(home)
}

fn make(home: &Home, binaries: &Binaries, starter: &File, stop: &Stop) -> anyhow::Result<Outcome> {
    let gives_up = || stop.since().is_some_and(|told| told.elapsed() > FINISH_TIMEOUT);
    let mut initdb = tool(home, binaries, "initdb");
    initdb.args(initdb_arguments()).stdin(starter.try_clone()?);
    if tool::run(&mut initdb, gives_up)? == Outcome::GivenUp {
        return Ok(Outcome::GivenUp);
    }
    add_settings(home)?;
    // The database is created before there is a server, so that a cluster which is there is known to have it.
    let mut single = tool(home, binaries, "postgres");
    single.args(["--single", "-D", UNFINISHED, "-c", "exit_on_error=true", "template1"]);
    let statement = format!("create database {DATABASE}\n");
    tool::feed(&mut single, &statement, gives_up).context("cannot create the database")
}

/// One of the server's programs, in the home. Paths are given relative to it, because `pg_ctl` passes them to a shell,
/// to which the home's own path might mean something.
pub(crate) fn tool(home: &Home, binaries: &Binaries, name: &str) -> Command {
    home.command(&binaries.program(name))
}

/// Any process that can open the socket may connect without a password; the folder of the socket is private. The C
/// locale keeps the order of indexes independent of the machine's C library, whose upgrades break others.
fn initdb_arguments() -> [&'static str; 8] {
    [
        "--pgdata=cluster.unfinished",
        "--username=identityd",
        "--encoding=UTF8",
        "--locale=C",
        "--auth-local=trust",
        "--auth-host=reject",
        "--data-checksums",
        "--no-instructions",
    ]
}

/// The account of the server writes the file, not this process: if this is root, a link in the cluster could lead it to
/// another file.
fn add_settings(home: &Home) -> anyhow::Result<()> {
    let mut command = home.command(Path::new("tee"));
    command.args(["-a", "--"]).arg(Path::new(UNFINISHED).join("postgresql.conf"));
    tool::feed(&mut command, &settings(), || false).map(drop).context("cannot write postgresql.conf")
}

fn finish(home: &Home) -> anyhow::Result<()> {
    fs::rename(home.join(UNFINISHED), home.join(CLUSTER)).context("cannot name the new cluster")?;
    // The new name must survive a power cut, or the next start would take the cluster for missing.
    File::open(&home.folder)?.sync_all().context("cannot flush the folder of the cluster")
}

fn remove_unfinished(home: &Home) -> anyhow::Result<()> {
    remove(&home.join(UNFINISHED))
}

/// Removes a folder with all that is in it, if it is there.
pub(crate) fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The major version of the cluster.
pub(crate) fn major(home: &Home) -> anyhow::Result<u32> {
    let path = home.join(CLUSTER).join("PG_VERSION");
    let version = home.account.read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    version.trim().parse().context("the cluster's version is not a number")
}
