//! A data directory for every test, and the binary to run on it.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use identity_postgres::PrivatePostgres;
use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for a state before it fails. Far more than a slow machine needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(45);

/// Environment variables that change what the binary does. A developer's machine may have them set.
const SETTINGS: [&str; 46] = [
    "DATABASE_URL",
    "IDENTITYD_CLIENT_TIMEOUT_SECONDS",
    "IDENTITYD_COMPRESSION",
    "IDENTITYD_CORS_ORIGINS",
    "IDENTITYD_DATA_DIR",
    "IDENTITYD_DESCRIPTION_LIMIT",
    "IDENTITYD_FORWARDED_HEADER",
    "IDENTITYD_KEY_REQUESTS_PER_MINUTE",
    "IDENTITYD_IDEMPOTENCY_RETENTION_HOURS",
    "IDENTITYD_LISTEN",
    "IDENTITYD_LOG_FORMAT",
    "IDENTITYD_MAIL_DOMAIN",
    "IDENTITYD_MAX_CONNECTIONS",
    "IDENTITYD_MAX_REQUESTS",
    "IDENTITYD_METRICS_LISTEN",
    "IDENTITYD_NAME_HOLD_DAYS",
    "IDENTITYD_ORGANIZATION_REQUESTS_PER_MINUTE",
    "IDENTITYD_OWNER_URL",
    "IDENTITYD_REFUSED_KEYS_PER_MINUTE",
    "IDENTITYD_REQUEST_TIMEOUT_SECONDS",
    "IDENTITYD_SECRETS_KEY_FILE",
    "IDENTITYD_SIGNER_ETCD",
    "IDENTITYD_SIGNER_ETCD_CA_FILE",
    "IDENTITYD_SIGNER_ETCD_CERTIFICATE",
    "IDENTITYD_SIGNER_ETCD_KEY",
    "IDENTITYD_SIGNER_ETCD_PASSWORD_FILE",
    "IDENTITYD_SIGNER_ETCD_USER",
    "IDENTITYD_SIGNING_KEY",
    "IDENTITYD_SIGNING_KEY_FILE",
    "IDENTITYD_TLS_CERTIFICATE",
    "IDENTITYD_TLS_KEY",
    "IDENTITYD_TRUSTED_PROXIES",
    "IDENTITYD_TUNNEL_ZONE",
    "IDENTITYD_WEBHOOK_ALLOW_NETWORKS",
    "IDENTITYD_WEBHOOK_CA_FILE",
    "IDENTITYD_WEBHOOK_LOG_BYTES",
    "IDENTITYD_WEBHOOK_LOG_DELIVERIES",
    "IDENTITYD_WEBHOOK_PORTS",
    "IDENTITYD_WEBHOOK_RETENTION_DAYS",
    "IDENTITYD_WEBHOOK_RETRY_DELAYS",
    "IDENTITYD_WITNESSES",
    "NOTIFY_SOCKET",
    "NO_COLOR",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "WATCHDOG_USEC",
    "RUST_LOG",
];

/// The folder of all places: in memory, where a cluster starts several times faster, unless the shared memory is as
/// small as in a container.
static SCRATCH: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let room = Command::new("df").args(["-k", "--output=avail"]).arg(memory).output();
    let text = room.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let kilobytes = text.lines().nth(1).and_then(|line| line.trim().parse::<u64>().ok()).unwrap_or(0);
    if kilobytes > 4_000_000 { memory.to_owned() } else { std::env::temp_dir() }
});

/// The program of auditors. It belongs to another package, whose programs cargo builds with the tests of that package only.
static AUDITORS_PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let mut build = Command::new(env!("CARGO"));
    build.args(["test", "--workspace", "--offline", "--quiet", "--no-run", "--test", "program"]);
    build.args((!cfg!(debug_assertions)).then_some("--release"));
    assert!(build.status().unwrap().success());
    Path::new(env!("CARGO_BIN_EXE_identityd")).with_file_name("identity-audit")
});

/// A data directory after its first start, which is copied for most tests, since a first start takes long. It is
/// removed with the last place that refers to it.
static TEMPLATE: Mutex<Weak<Place>> = Mutex::new(Weak::new());

/// A folder with a data directory. A Postgres that still runs on it is stopped when this is dropped.
pub(crate) struct Place {
    folder: TempDir,
    data_dir: PathBuf,
    /// Keeps the template for later tests.
    template: Option<Arc<Place>>,
}

/// The result of a command.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A service that listens. It is killed when this is dropped, unless it was stopped.
pub(crate) struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    base: String,
    metrics: String,
}

impl Place {
    /// A place before its first start, in a folder that every account can enter.
    pub(crate) fn new() -> Self {
        Self::with_mode(0o755)
    }

    /// A place after its first start.
    pub(crate) fn served() -> Self {
        let template = template();
        let mut place = Self::new();
        let mut copy = Command::new("cp");
        assert!(copy.arg("-a").args([&template.data_dir, &place.data_dir]).status().unwrap().success());
        place.template = Some(template);
        place
    }

    pub(crate) fn with_mode(mode: u32) -> Self {
        let folder = TempDir::new_in(&*SCRATCH).unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        let data_dir = folder.path().join("data");
        Self { folder, data_dir, template: None }
    }

    pub(crate) fn set_data_dir(&mut self, name: impl AsRef<Path>) {
        self.data_dir = self.folder.path().join(name);
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Where a file of this name would be.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command.arg("--data-dir").arg(&self.data_dir);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        run(&mut self.command(arguments))
    }

    pub(crate) fn serve(&self) -> Serving {
        Serving::start(self.command(&["serve", "--listen", "127.0.0.1:0"]).stderr(Stdio::null()))
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.data_dir.join("postgres")
    }

    /// The process id in the lock file of the server, if there is one.
    pub(crate) fn postmaster(&self) -> Option<u32> {
        let file = fs::read_to_string(self.postgres().join("cluster/postmaster.pid")).ok()?;
        Some(file.lines().next()?.parse().unwrap())
    }

    pub(crate) fn database_url(&self) -> String {
        let private = PrivatePostgres::open(&self.data_dir).unwrap();
        private.url()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.postmaster().is_some() {
            let closed = PrivatePostgres::open(&self.data_dir).and_then(PrivatePostgres::close);
            assert!(closed.is_ok() || std::thread::panicking(), "Postgres was not stopped: {closed:?}");
        }
        if let Ok(outside) = fs::read_link(self.postgres()) {
            // The folder above is removed by the last test that uses it.
            let _ = fs::remove_dir_all(&outside);
            let _ = outside.parent().map(fs::remove_dir);
        }
    }
}

fn template() -> Arc<Place> {
    // If a test failed here, the template was not set: it is set when it is complete.
    let mut shared = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let place = Arc::new(Place::new());
        assert!(place.serve().stop().success());
        // A small server starts faster.
        let settings = place.postgres().join("cluster/postgresql.conf");
        let mut settings = OpenOptions::new().append(true).open(settings).unwrap();
        settings.write_all(b"shared_buffers = 16MB\n").unwrap();
        *shared = Arc::downgrade(&place);
        place
    })
}

impl Finished {
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.status.success(), "{}: {}", self.status, self.stderr);
        self
    }

    /// Checks for exit code 1 and one line on standard error, and returns that line.
    pub(crate) fn error(&self) -> &str {
        assert_eq!(self.status.code(), Some(1), "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        self.stderr.trim_end().strip_prefix("error: ").unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

impl Serving {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut serving = Self { child, stdout, base: String::new(), metrics: String::new() };
        let line = serving.line();
        let expected = ["listening on http://127.0.0.1:", "listening on https://127.0.0.1:"];
        assert!(expected.iter().any(|start| line.starts_with(start)), "{line:?}");
        line.trim_end().strip_prefix("listening on ").unwrap().clone_into(&mut serving.base);
        let line = serving.line();
        line.trim_end().strip_prefix("metrics on ").unwrap().clone_into(&mut serving.metrics);
        serving
    }

    /// The address of the service, without a slash at the end.
    pub(crate) fn base(&self) -> String {
        self.base.clone()
    }

    /// The URL of its metrics.
    pub(crate) fn metrics(&self) -> &str {
        &self.metrics
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn terminate(&self) {
        signal("TERM", &self.pid().to_string());
    }

    /// Tells the service to stop, and checks that it stops within the promised time.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let told = Instant::now();
        self.terminate();
        let status = self.wait();
        assert!(told.elapsed() < Duration::from_secs(10), "took {:?} to stop", told.elapsed());
        status
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the service has stopped", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Returns what the service prints up to the line that contains `part`, and stops it.
    pub(crate) fn printed_until(mut self, part: &str) -> String {
        let mut printed = String::new();
        while !printed.contains(part) {
            let line = self.line();
            assert!(!line.is_empty(), "the service ended without {part:?}: {printed}");
            printed.push_str(&line);
        }
        assert!(self.stop().success());
        printed
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary without a data directory, and without the environment variables in `SETTINGS`.
pub(crate) fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_identityd"));
    for setting in SETTINGS {
        command.env_remove(setting);
    }
    command.args(arguments);
    command
}

/// The program of auditors with these arguments.
pub(crate) fn identity_audit(arguments: &[&str]) -> Finished {
    run(Command::new(&*AUDITORS_PROGRAM).args(arguments))
}

/// The same command, started by a shell that does something first, or that redirects it.
pub(crate) fn through_shell(command: &Command, script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(command.get_program()).args(command.get_args());
    for (name, _) in command.get_envs() {
        shell.env_remove(name);
    }
    shell
}

pub(crate) fn run(command: &mut Command) -> Finished {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Finished { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The same for a command that may not end: a service that should refuse to start.
pub(crate) fn run_to_end(command: &mut Command) -> Finished {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let has_ended = child.try_wait().unwrap().is_some();
    // It may have ended meanwhile.
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let finished =
        Finished { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(has_ended, "it goes on: {}{}", finished.stdout, finished.stderr);
    finished
}

/// Sends a signal to a process, or to a process group if the id has a minus sign before it.
pub(crate) fn signal(name: &str, id: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), "--", id]).status().unwrap();
    assert!(status.success(), "no process {id}");
}

/// Waits for a state, and fails the test after `DEADLINE`.
pub(crate) fn eventually(state: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !reached() {
        assert!(Instant::now() < deadline, "gave up waiting until {state}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Tells clients to stop when it is dropped, also if the test fails.
pub(crate) struct StopAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}
