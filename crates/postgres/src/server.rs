//! The server of a home: whether it runs, and how it is started and stopped.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use socket2::{Domain, SockAddr, Socket, Type};

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

/// How long after this process was told to stop the server may take to shut down in good order, or to end where it was
/// starting. Leaves a moment of the ten seconds within which the whole process is to stop.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(8_300);

/// How long the server may take to shut down in good order if nobody has told this process to stop. A server that is told to shut down
/// while it recovers from a crash can wait for one of its own processes for ever.
const UNHURRIED_SHUTDOWN_TIMEOUT: Duration = Duration::from_mins(1);

/// How long the server is waited for after it was told to end at once. Its sessions may take 5 seconds to do so, and a process that
/// was told to stop does not wait that long.
const IMMEDIATE_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(800);

/// How long the server is waited for after it was told to end at once, if nobody has told this process to stop.
const UNHURRIED_IMMEDIATE_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the server may take to begin to shut down when it is asked to.
const REACTION_TIMEOUT: Duration = Duration::from_secs(10);

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

    /// Ends all sessions and shuts the server down in good order. If that fails or takes too long, the server ends at once: what was
    /// committed is safe, and the next start recovers it. A server that does not end then, or that hangs, is left running. The caller
    /// holds the starter lock.
    pub(crate) fn stop(&self, starter: &File, stop: &Stop) -> anyhow::Result<Outcome> {
        if let ServerState::Absent = self.state() {
            return Ok(Outcome::Done);
        }
        let timeout = format!("--timeout={}", START_TIMEOUT.as_secs());
        let asked = Instant::now();
        let gives_up = || {
            stop.since().is_some_and(|told| told.elapsed() > SHUTDOWN_TIMEOUT)
                || (asked.elapsed() > REACTION_TIMEOUT && self.says_ready())
                || asked.elapsed() > UNHURRIED_SHUTDOWN_TIMEOUT
        };
        match self.shut_down(&["--mode=fast", "--wait", &timeout], starter, gives_up) {
            Ok(Outcome::Done) => return Ok(Outcome::Done),
            Ok(Outcome::GivenUp) => {}
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "Postgres does not stop in good order");
            }
        }
        let asked = Instant::now();
        let gives_up = || {
            let is_told = stop.since().is_some();
            asked.elapsed()
                > if is_told { IMMEDIATE_SHUTDOWN_TIMEOUT } else { UNHURRIED_IMMEDIATE_SHUTDOWN_TIMEOUT }
        };
        self.shut_down(&["--mode=immediate", "--wait"], starter, gives_up)
    }

    fn shut_down(
        &self,
        how: &[&str],
        starter: &File,
        gives_up: impl Fn() -> bool,
    ) -> anyhow::Result<Outcome> {
        let arguments = [&["stop", "-D", CLUSTER], how].concat();
        match tool::run(&mut self.pg_ctl(&arguments, starter)?, gives_up) {
            // It has ended by itself before it was asked.
            Err(_) if matches!(self.state(), ServerState::Absent) => Ok(Outcome::Done),
            outcome => outcome.context("cannot stop Postgres"),
        }
    }

    /// The same where a server that still runs is an error.
    pub(crate) fn end(&self, starter: &File, stop: &Stop) -> anyhow::Result<()> {
        ensure!(self.stop(starter, stop)? == Outcome::Done, self.still_runs());
        Ok(())
    }

    /// What is to be said of a server that `stop` has left running.
    pub(crate) fn still_runs(&self) -> String {
        let pid_file = self.home.account.read(&self.pid_file()).unwrap_or_default();
        let pid = pid_file.lines().next().unwrap_or("unknown");
        format!(
            "Postgres has not stopped and is left running (process {pid}): it was told to stop at once, and nothing can use \
             {} until it has; if it never does, end its processes",
            self.home.folder.display()
        )
    }

    fn start(&self, starter: &File, stop: &Stop) -> anyhow::Result<()> {
        swap::finish(&self.home)?;
        cluster::create_if_missing(&self.home, starter, stop)?;
        self.remove_stale_locks()?;
        ensure!(!stop.is_told(), "told to stop before Postgres was started");
        let options = self.options()?;
        let timeout = format!("--timeout={}", START_TIMEOUT.as_secs());
        // Silent, since it would end at its next word when this process is killed, and with it its lock.
        let arguments = ["start", "--silent", "-D", CLUSTER, "-l", LOG, "--wait", &timeout, "-o", &options];
        let mut command = self.pg_ctl(&arguments, starter)?;
        let logged_before = self.log_length();
        // `pg_ctl start` ends when the server that it has started has ended. It is given up only if that server hangs.
        let outcome = tool::run(&mut command, || {
            self.end_if_told(starter, stop);
            stop.since().is_some_and(|told| told.elapsed() > SHUTDOWN_TIMEOUT)
        });
        let has_started = matches!(outcome, Ok(Outcome::Done));
        ensure!(has_started || !stop.is_told(), "told to stop while Postgres was starting");
        let explained = |error| self.explained(error, logged_before);
        outcome.map(drop).map_err(explained).context("cannot start Postgres")
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
        if !self.is_listening() {
            return ServerState::Absent;
        }
        if self.says_ready() { ServerState::Ready } else { ServerState::StartingOrStopping }
    }

    /// Whether the server has written that it is ready, and not yet that it stops. `pg_ctl --wait` reads this line, too.
    fn says_ready(&self) -> bool {
        let pid_file = self.home.account.read(&self.pid_file()).unwrap_or_default();
        pid_file.lines().nth(7).is_some_and(|line| line.trim() == "ready")
    }

    /// Whether a server listens at the socket. One that hangs does so as well, until its queue of connections is full. Then
    /// an ordinary connection would wait forever, and this one is told to try again.
    fn is_listening(&self) -> bool {
        let connect = || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            socket.connect(&SockAddr::unix(self.socket.file())?)
        };
        connect().map_or_else(|error| error.kind() == ErrorKind::WouldBlock, |()| true)
    }

    /// After a crash of the machine the process id in the lock files may belong to another process, and Postgres
    /// would then refuse to start. It also looks at its shared memory, so a server that does run stays protected.
    fn remove_stale_locks(&self) -> anyhow::Result<()> {
        let path = self.pid_file();
        let pid_file = match self.home.account.read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        if self.is_ours(pid_file.lines().next().unwrap_or_default())? {
            return Ok(());
        }
        let mut command = self.home.command(Path::new("rm"));
        command.args(["-f", "--"]).args([path, self.socket.lock_file(), self.socket.file()]);
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

    /// `pg_ctl` only says "could not start server"; the reason is in what this start has added to the log.
    fn explained(&self, error: anyhow::Error, logged_before: u64) -> anyhow::Error {
        let added = self.log_length().saturating_sub(logged_before);
        let log = self.home.account.read_end(&self.log(), added).unwrap_or_default();
        match tool::telling_line(&log) {
            "" => error,
            reason => anyhow::anyhow!("{reason} (see {})", self.log().display()),
        }
    }

    /// The length of the log in bytes.
    fn log_length(&self) -> u64 {
        fs::metadata(self.log()).map_or(0, |metadata| metadata.len())
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
