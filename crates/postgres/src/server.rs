//! The server of a home: whether it runs, and how it is started and stopped.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::binaries::Binaries;
use crate::cluster::{self, CLUSTER};
use crate::home::Home;
use crate::socket::{PORT, SocketFolder};
use crate::stop::Stop;
use crate::swap;
use crate::tool::{self, Outcome};

/// How long a server that is already starting or stopping may take. Recovery after a power cut replays up to
/// `max_wal_size`, which takes minutes on a slow disk.
const START_TIMEOUT: Duration = Duration::from_mins(5);

/// How long after this process was told to stop a server that is still starting is asked to end in good order.
const STARTUP_END_TIMEOUT: Duration = Duration::from_secs(4);

/// How long after this process was told to stop the server may take to shut down in good order. Leaves a moment of the
/// ten seconds within which the whole process is to stop.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(8_500);

/// How often a server on its way is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Name of the server's log in the home.
const LOG: &str = "postgres.log";

/// The server of one home.
#[derive(Debug)]
pub(crate) struct Server {
    home: Home,
    socket: SocketFolder,
}

/// The state of the server.
enum ServerState {
    Absent,
    StartingOrStopping,
    Ready,
}

impl Server {
    pub(crate) fn of(home: Home) -> anyhow::Result<Self> {
        let socket = SocketFolder::of(&home)?;
        Ok(Self { home, socket })
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) fn socket_folder(&self) -> &Path {
        &self.socket.path
    }

    /// Returns once the server answers, and says whether it had to be started. The caller holds the starter lock.
    pub(crate) fn ensure_running(&self, starter: &File, stop: &Stop) -> anyhow::Result<bool> {
        match self.settled(stop)? {
            ServerState::Ready => Ok(false),
            ServerState::Absent | ServerState::StartingOrStopping => self.start(starter, stop).map(|()| true),
        }
    }

    /// Ends all sessions and shuts the server down in good order. Where the process was told to stop and that takes too
    /// long, the server ends at once: what was committed is safe, and the next start recovers it. The caller holds the
    /// starter lock.
    pub(crate) fn stop(&self, starter: &File, stop: &Stop) -> anyhow::Result<()> {
        if let ServerState::Absent = self.state() {
            return Ok(());
        }
        let gives_up = || stop.since().is_some_and(|told| told.elapsed() > SHUTDOWN_TIMEOUT);
        let timeout = format!("--timeout={}", START_TIMEOUT.as_secs());
        let arguments = ["stop", "-D", CLUSTER, "--mode=fast", "--wait", &timeout];
        let outcome = tool::run(&mut self.pg_ctl(&arguments, starter)?, gives_up);
        if outcome.context("cannot stop Postgres")? == Outcome::Done {
            return Ok(());
        }
        let arguments = ["stop", "-D", CLUSTER, "--mode=immediate", "--wait"];
        tool::run(&mut self.pg_ctl(&arguments, starter)?, || false).map(drop).context("cannot stop Postgres")
    }

    fn start(&self, starter: &File, stop: &Stop) -> anyhow::Result<()> {
        swap::finish(&self.home)?;
        cluster::create_if_missing(&self.home, starter, stop)?;
        self.remove_stale_locks()?;
        ensure!(!stop.is_told(), "told to stop before Postgres was started");
        let options = self.options()?;
        let timeout = format!("--timeout={}", START_TIMEOUT.as_secs());
        let arguments = ["start", "-D", CLUSTER, "-l", LOG, "--wait", &timeout, "-o", &options];
        let mut command = self.pg_ctl(&arguments, starter)?;
        // `pg_ctl start` is never given up itself: it ends when the server that it has started has ended.
        let outcome = tool::run(&mut command, || {
            self.end_if_told(starter, stop);
            false
        });
        ensure!(outcome.is_ok() || !stop.is_told(), "told to stop while Postgres was starting");
        outcome.map(drop).map_err(|error| self.explained(error)).context("cannot start Postgres")
    }

    /// Ends a server that is still starting when this process is told to stop: first in good order, then at once. As
    /// long as the server has not written its process id, it cannot be told, and the caller tries again.
    fn end_if_told(&self, starter: &File, stop: &Stop) {
        let Some(told) = stop.since() else { return };
        let mode = if told.elapsed() < STARTUP_END_TIMEOUT { "--mode=fast" } else { "--mode=immediate" };
        let ending = self.pg_ctl(&["stop", "-D", CLUSTER, mode, "--no-wait"], starter);
        if let Err(error) = ending.and_then(|mut command| tool::run(&mut command, || false)) {
            tracing::debug!(error = format!("{error:#}"), "Postgres cannot be stopped yet");
        }
    }

    /// Settings that `postgresql.conf` must not change: the server is not reachable over the network, clients find its
    /// socket, and an acknowledged commit is on disk.
    fn options(&self) -> anyhow::Result<String> {
        let folder = &self.socket.as_server_option;
        let name = self.name()?;
        Ok(format!(
            "-c listen_addresses= -c unix_socket_directories={folder} -c unix_socket_permissions=0700 -c port={PORT} \
             -c cluster_name={name} -c fsync=on -c synchronous_commit=on -c full_page_writes=on"
        ))
    }

    /// `pg_ctl` of the cluster's own version. It works under the starter lock, which it gets as its input: if this
    /// process is killed, the next one waits until the server has started or stopped. `pg_ctl` gives the server
    /// another input and a session of its own.
    fn pg_ctl(&self, arguments: &[&str], starter: &File) -> anyhow::Result<std::process::Command> {
        let binaries = Binaries::of_major(cluster::major(&self.home)?)?;
        let mut command = cluster::tool(&self.home, &binaries, "pg_ctl");
        command.args(arguments).stdin(starter.try_clone()?);
        Ok(command)
    }

    /// Waits for a server that is on its way up or down.
    fn settled(&self, stop: &Stop) -> anyhow::Result<ServerState> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.state() {
                ServerState::StartingOrStopping if stop.is_told() => {
                    bail!("told to stop while Postgres was starting")
                }
                ServerState::StartingOrStopping if Instant::now() < deadline => sleep(LOOK_AGAIN),
                ServerState::StartingOrStopping => {
                    bail!("Postgres is neither up nor down, see {}", self.log().display())
                }
                settled => return Ok(settled),
            }
        }
    }

    /// Asks the socket whether there is a server. The process id in the lock file may belong to another program by now.
    fn state(&self) -> ServerState {
        if UnixStream::connect(self.socket.file()).is_err() {
            return ServerState::Absent;
        }
        // `pg_ctl --wait` reads this line, too.
        let pid_file = self.home.account.read(&self.pid_file()).unwrap_or_default();
        match pid_file.lines().nth(7).map(str::trim) {
            Some("ready") => ServerState::Ready,
            _ => ServerState::StartingOrStopping,
        }
    }

    /// After a crash of the machine the process id in the lock files may belong to another process, and Postgres
    /// would then refuse to start. It also looks at its shared memory, so a server that does run stays protected.
    fn remove_stale_locks(&self) -> anyhow::Result<()> {
        let Ok(pid_file) = self.home.account.read(&self.pid_file()) else { return Ok(()) };
        if self.is_ours(pid_file.lines().next().unwrap_or_default())? {
            return Ok(());
        }
        let mut command = self.home.command(Path::new("rm"));
        command.args(["-f", "--"]).args([self.pid_file(), self.socket.lock_file(), self.socket.file()]);
        tool::run(&mut command, || false).map(drop).context("cannot remove the lock files of a dead server")
    }

    /// Whether this process is a server of this cluster. Without /proc the answer is yes, and Postgres decides itself.
    fn is_ours(&self, pid: &str) -> anyhow::Result<bool> {
        let proc = Path::new("/proc/self").exists();
        let command_line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        Ok(!proc || command_line.contains(&format!("cluster_name={}", self.name()?)))
    }

    /// Tells the servers of several data directories apart in a list of processes. Not made from the path, so that it
    /// stays when a data directory is moved.
    fn name(&self) -> anyhow::Result<String> {
        Ok(format!("identityd-{}", fs::metadata(self.cluster())?.ino()))
    }

    /// `pg_ctl` only says "could not start server"; the reason is in the log.
    fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        let log = self.home.account.read(&self.log()).unwrap_or_default();
        match tool::telling_line(&log) {
            "" => error,
            reason => anyhow::anyhow!("{reason} (see {})", self.log().display()),
        }
    }

    fn cluster(&self) -> PathBuf {
        self.home.join(CLUSTER)
    }

    fn pid_file(&self) -> PathBuf {
        self.cluster().join("postmaster.pid")
    }

    fn log(&self) -> PathBuf {
        self.home.join(LOG)
    }
}
