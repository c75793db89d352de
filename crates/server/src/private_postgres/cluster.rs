//! How a cluster comes into being: complete under its final name, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail};

use super::DATABASE;
use super::binaries::Binaries;
use super::home::Home;

/// Name of the cluster's folder in its home.
pub(super) const CLUSTER: &str = "cluster";

/// Name of the folder while the cluster is being made.
const UNFINISHED: &str = "cluster.unfinished";

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
pub(super) fn shared_buffers(memory: Option<u64>) -> u64 {
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
/// its input: if this process is killed, the next one waits until the tool has ended too.
pub(super) fn create_if_missing(home: &Home, starter: &File) -> anyhow::Result<()> {
    if home.join(CLUSTER).exists() {
        return Ok(());
    }
    let binaries = Binaries::newest()?;
    remove_unfinished(home)?;
    tracing::info!("creating a Postgres cluster in {}", home.folder.display());
    run(tool(home, &binaries, "initdb").args(initdb_arguments()).stdin(starter.try_clone()?))?;
    add_settings(&home.join(UNFINISHED))?;
    create_database(home, &binaries)?;
    finish(home)
}

/// One of the server's programs, in the home. Paths are given relative to it, because `pg_ctl` passes them to a shell,
/// to which the home's own path might mean something.
pub(super) fn tool(home: &Home, binaries: &Binaries, name: &str) -> Command {
    let mut command = home.account.command(&binaries.program(name));
    command.current_dir(&home.folder);
    command
}

/// Runs a tool to its end; what it complained about becomes the error.
pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    check(&name, &output)
}

/// The line of a tool's output or of the server's log that says what went wrong.
pub(super) fn telling_line(text: &str) -> &str {
    let mut lines = text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().next().unwrap_or_default();
    lines.find(|line| line.contains("FATAL:") || line.contains("error:")).unwrap_or(last)
}

/// Everybody who reaches the socket may connect, and nobody else: the folder of the socket is closed to others. The C
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

fn add_settings(cluster: &Path) -> anyhow::Result<()> {
    let path = cluster.join("postgresql.conf");
    let mut file = OpenOptions::new().append(true).open(&path)?;
    file.write_all(settings().as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// Creates the database before there is a server, so that a cluster which is there is known to have it.
fn create_database(home: &Home, binaries: &Binaries) -> anyhow::Result<()> {
    let mut command = tool(home, binaries, "postgres");
    command.args(["--single", "-D", UNFINISHED, "-c", "exit_on_error=true", "template1"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "create database {DATABASE}")?;
    }
    check("postgres --single", &child.wait_with_output()?).context("cannot create the database")
}

fn finish(home: &Home) -> anyhow::Result<()> {
    fs::rename(home.join(UNFINISHED), home.join(CLUSTER)).context("cannot name the new cluster")?;
    // The new name must survive a power cut, or the next start would take the cluster for missing.
    File::open(&home.folder)?.sync_all().context("cannot flush the folder of the cluster")
}

fn remove_unfinished(home: &Home) -> anyhow::Result<()> {
    let unfinished = home.join(UNFINISHED);
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", unfinished.display()))
        }
        _ => Ok(()),
    }
}

fn check(name: &str, output: &Output) -> anyhow::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{name} failed ({}): {}", output.status, telling_line(&said))
}
