//! A private Postgres that ends with this process.
//!
//! A shell script owns the server. It starts Postgres, prints the folder, and reads a pipe whose other end only this
//! process has. When this process ends, even by a panic or `kill -9`, the kernel closes the pipe, and the script stops
//! Postgres and removes the folder.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = r#"
set -eu
umask 077
# Copying a database is ten times as fast in memory. The small shared memory of a container would soon be full.
folder=$1
memory=/dev/shm
if [ -w "$memory" ] && [ "$(df -Pk "$memory" | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4)" -gt 2000000 ]; then
    folder=$memory
fi
home=$(mktemp -d "$folder/identityd-test.XXXXXX")
clean_up() {
    "$2/pg_ctl" -D "$home/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$home"
}
trap 'clean_up "$@"' EXIT
# The test process may have ended before the script prints the folder.
trap '' PIPE
"$2/initdb" -D "$home/data" -U identityd -A trust -E UTF8 --locale=C -N </dev/null >"$home/log" 2>&1 ||
    { cat "$home/log" >&2; exit 1; }
"$2/pg_ctl" -D "$home/data" -l "$home/log" -w -t 60 start </dev/null >/dev/null 2>&1 \
    -o "-c listen_addresses= -c unix_socket_directories=$home -c max_connections=400 -c fsync=off -c full_page_writes=off -c autovacuum=off -c max_wal_size=4GB -c shared_buffers=24MB" ||
    { cat "$home/log" >&2; exit 1; }
printf %s "$home" 2>/dev/null
exec >/dev/null
cat >/dev/null
"#;

/// A running private Postgres.
#[derive(Debug)]
pub(crate) struct Supervisor {
    script: Child,
    home: PathBuf,
}

impl Supervisor {
    /// Starts a Postgres that listens on a Unix socket only and returns when it accepts connections.
    pub(crate) fn start() -> Self {
        let mut script = command().spawn().expect("sh can be started");
        let mut home = String::new();
        script.stdout.take().unwrap().read_to_string(&mut home).unwrap();
        assert!(!home.is_empty(), "Postgres did not start; its log is above");
        Self { script, home: PathBuf::from(home) }
    }

    /// The folder with the data and the socket.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// The URL of the database `postgres`, which always exists.
    pub(crate) fn url(&self) -> String {
        format!("postgres://identityd@localhost/postgres?host={}", self.home.display())
    }

    /// Does what happens when this process ends: closes the pipe. Waits until the script is done.
    pub(crate) fn end(mut self) {
        drop(self.script.stdin.take());
        assert!(self.script.wait().unwrap().success(), "Postgres did not stop");
    }
}

fn command() -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", SCRIPT, "identityd-test-postgres"])
        .arg(std::env::temp_dir())
        .arg(installed_binaries())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A folder that every user may read: the present one may be closed to the user `postgres`.
        .current_dir("/")
        // A process group of its own, so that Ctrl+C in the terminal ends the tests and not the script.
        .process_group(0);
    if user_id(&[]) == 0 {
        // Postgres refuses to run as root.
        command.uid(user_id(&["postgres"])).gid(group_id_of_postgres());
    }
    command
}

/// The folder of the server binaries: on the path, or else the newest of Debian, which are not on the path.
#[expect(clippy::disallowed_methods, reason = "programs are looked up where a shell would look")]
fn installed_binaries() -> PathBuf {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&on_path).collect();
    let mut packaged: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    packaged.sort();
    folders.extend(packaged.into_iter().rev());
    folders
        .into_iter()
        .find(|folder| folder.join("initdb").exists() && folder.join("pg_ctl").exists())
        .expect("initdb and pg_ctl are installed: on Debian, `apt install postgresql`")
}

fn user_id(user: &[&str]) -> u32 {
    id("-u", user)
}

fn group_id_of_postgres() -> u32 {
    id("-g", &["postgres"])
}

fn id(flag: &str, user: &[&str]) -> u32 {
    let output = Command::new("id").arg(flag).args(user).output().expect("`id` is everywhere");
    String::from_utf8(output.stdout).unwrap().trim().parse().expect("the user `postgres` exists")
}
