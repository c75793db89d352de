//! nginx, which answers every request with the same bytes from a file. Two of its processes answer.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::net::TcpStream;

use crate::arena::Arena;
use crate::results::say;

/// Where nginx is. Debian installs it where only root looks.
const PROGRAMS: [&str; 3] = ["nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"];

/// The configuration, but for its port.
const CONFIGURATION: &str = include_str!("nginx.conf");

/// How long nginx may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How often the bench tries to connect until then.
const CONNECT_INTERVAL: Duration = Duration::from_millis(20);

/// A running nginx. It ends when this is dropped.
pub(crate) struct Nginx {
    /// The process that starts and ends the two that answer.
    master: Child,
    /// The address where it listens.
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// Starts nginx over a copy of a file, in a folder of its own. There is none if it is not installed.
    pub(crate) async fn start(arena: &Arena, body: &Path) -> anyhow::Result<Option<Self>> {
        let Some(program) = PROGRAMS.into_iter().find(|program| is_installed(program)) else {
            return Ok(None);
        };
        let folder = arena.empty_folder("nginx")?;
        fs::copy(body, folder.join("body.json"))?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let configuration = folder.join("nginx.conf");
        fs::write(&configuration, CONFIGURATION.replace("127.0.0.1:0", &address.to_string()))?;
        let master = Command::new(program)
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&configuration)
            .stdout(Stdio::null())
            .stderr(File::create(arena.file("nginx.log"))?)
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let mut nginx = Self { master, address };
        nginx.listens().await?;
        Ok(Some(nginx))
    }

    /// Returns when connections are accepted.
    async fn listens(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        while TcpStream::connect(self.address).await.is_err() {
            let ended = self.master.try_wait()?;
            ensure!(ended.is_none(), "nginx ended instead of listening; nginx.log in the folder says why");
            ensure!(started.elapsed() < START_TIMEOUT, "nginx does not listen on {}", self.address);
            tokio::time::sleep(CONNECT_INTERVAL).await;
        }
        Ok(())
    }

    /// Ends the processes. The master is asked to, since those that answer would outlive it if it was killed.
    fn end(&mut self) -> anyhow::Result<()> {
        if self.master.try_wait()?.is_none() {
            let script = format!("kill -s TERM {}", self.master.id());
            ensure!(Command::new("/bin/sh").args(["-c", &script]).status()?.success(), "{script} failed");
            self.master.wait()?;
        }
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            say(&format!("cannot stop nginx: {error:#}"));
        }
    }
}

fn is_installed(program: &str) -> bool {
    let version = Command::new(program).arg("-v").stderr(Stdio::null()).status();
    !version.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}
