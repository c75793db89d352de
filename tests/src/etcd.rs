//! An etcd of one member for one test.

#![expect(clippy::unwrap_used, reason = "this is code of tests")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::skip;

/// Ends etcd when the test process ends, however that happens: the kernel then closes standard input.
const SCRIPT: &str = "etcd \"$@\" 2>&1 & pid=$!; exec >/dev/null; cat; kill $pid; wait $pid";

/// What etcd says when its clients can connect.
const READY: &str = "ready to serve client requests";

/// How often a port is tried that somebody else may take meanwhile.
const ATTEMPTS: usize = 5;

/// An etcd. It ends with the test.
#[derive(Debug)]
pub struct Etcd {
    folder: TempDir,
    /// Of clients, and of other members.
    ports: [u16; 2],
    arguments: Vec<String>,
    scheme: &'static str,
    script: Option<Child>,
}

impl Etcd {
    /// An etcd that answers; `None` if none is installed, which is said.
    pub fn start() -> Option<Self> {
        Self::with("http", &[])
    }

    /// The same with further arguments, whose clients speak this scheme.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn with(scheme: &'static str, arguments: &[&str]) -> Option<Self> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_err() {
            skip("there is no etcd here: .ci/tools installs it");
            return None;
        }
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let folder = TempDir::new().unwrap();
        let mut etcd = Self { folder, ports: [0; 2], arguments, scheme, script: None };
        let has_started = (0..ATTEMPTS).any(|_| {
            etcd.ports = free_ports();
            etcd.runs()
        });
        assert!(has_started, "etcd does not start");
        Some(etcd)
    }

    /// The address for clients.
    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.ports[0])
    }

    /// Ends it. What it has stored stays.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn stop(&mut self) {
        let Some(mut script) = self.script.take() else { return };
        drop(script.stdin.take());
        script.wait().unwrap();
    }

    /// Starts it again at the same address.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start_again(&mut self) {
        assert!(self.runs(), "etcd does not start again");
    }

    /// Starts it, and waits until it answers. Returns whether it does.
    fn runs(&mut self) -> bool {
        let client = self.endpoint();
        let peer = format!("http://127.0.0.1:{}", self.ports[1]);
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "etcd", "--data-dir"]).arg(self.folder.path().join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]).args(&self.arguments);
        let mut script =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let is_ready = lines.any(|line| line.is_ok_and(|line| line.contains(READY)));
        // It must not wait for somebody to read what else it says.
        std::thread::spawn(move || lines.count());
        self.script = Some(script);
        if !is_ready {
            self.stop();
        }
        is_ready
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
