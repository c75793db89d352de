//! Programs that are run to their end, or until somebody gives up waiting for them.

use std::io::{ErrorKind, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

/// How often the caller is asked whether to give up.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a program may take to end once it was told to; after that it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a program came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    GivenUp,
}

/// Runs a program to its end; what it complained about becomes the error. When `gives_up` says so, its process group is
/// ended.
pub(crate) fn run(command: &mut Command, gives_up: impl Fn() -> bool) -> anyhow::Result<Outcome> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = spawn(command, &name)?;
    finish(child, &name, gives_up)
}

/// The same of a program that reads `input`.
pub(crate) fn feed(
    command: &mut Command,
    input: &str,
    gives_up: impl Fn() -> bool,
) -> anyhow::Result<Outcome> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = spawn(command.stdin(Stdio::piped()), &name)?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program that does not read tells why when it ends.
        drop(pipe.write_all(input.as_bytes()));
    }
    finish(child, &name, gives_up)
}

fn spawn(command: &mut Command, name: &str) -> anyhow::Result<Child> {
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    spawned.map_err(|error| {
        let denied = error.kind() == ErrorKind::PermissionDenied;
        let folder = command.get_current_dir().map(|folder| folder.display().to_string()).unwrap_or_default();
        let hint = if denied {
            format!(
                ": the account that runs Postgres may not run it, or may not enter {folder} or a folder above"
            )
        } else {
            String::new()
        };
        anyhow::Error::new(error).context(format!("cannot run {name}{hint}"))
    })
}

fn finish(child: Child, name: &str, gives_up: impl Fn() -> bool) -> anyhow::Result<Outcome> {
    let group = child.id();
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    loop {
        match ended.recv_timeout(LOOK_AGAIN) {
            Ok(output) => return check(name, &output?).map(|()| Outcome::Done),
            Err(RecvTimeoutError::Disconnected) => bail!("nobody waits for {name}"),
            Err(RecvTimeoutError::Timeout) if !gives_up() => {}
            Err(RecvTimeoutError::Timeout) => {
                end(group, &ended);
                return Ok(Outcome::GivenUp);
            }
        }
    }
}

/// Ends a process group. Its programs may take a moment; the ones that take longer are killed.
fn end(group: u32, ended: &mpsc::Receiver<std::io::Result<Output>>) {
    for signal in ["TERM", "KILL"] {
        // Whoever ended by itself meanwhile cannot be signalled any more.
        let script = format!("kill -s {signal} -- -{group}");
        drop(Command::new("/bin/sh").args(["-c", &script]).stderr(Stdio::null()).status());
        let since = Instant::now();
        while since.elapsed() < END_TIMEOUT {
            if !matches!(ended.recv_timeout(LOOK_AGAIN), Err(RecvTimeoutError::Timeout)) {
                return;
            }
        }
    }
}

fn check(name: &str, output: &Output) -> anyhow::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{name} failed ({}): {}", output.status, telling_line(&said))
}

/// The line of a tool's output or of the server's log that says what went wrong. After a panic the server may tell clients
/// that it is starting, which is fatal for them only.
pub(crate) fn telling_line(text: &str) -> &str {
    let lines = text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let last_with = |marks: &[&str]| {
        let mut lines = lines.clone();
        lines.find(|line| marks.iter().any(|mark| line.contains(mark)))
    };
    last_with(&["PANIC:"])
        .or_else(|| last_with(&["FATAL:", "error:"]))
        .or_else(|| lines.clone().next())
        .unwrap_or_default()
}
