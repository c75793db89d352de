//! The environment of the measurements: one private Postgres with its ordinary durable settings, a database for each
//! contestant, and their servers.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use identity_postgres::PrivatePostgres;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::spawn_blocking;

/// How long a server may take until it prints where it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The folder of a run, and its Postgres.
pub(crate) struct Arena {
    folder: PathBuf,
    postgres: PrivatePostgres,
}

impl Arena {
    /// Starts an empty Postgres in `folder`.
    pub(crate) async fn open(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        // The path is absolute, since programs that run in other folders get paths of its files.
        let folder = folder.canonicalize()?;
        let data_dir = folder.join("data");
        // The Postgres of an earlier run may have other settings.
        if data_dir.exists() {
            fs::remove_dir_all(&data_dir)?;
        }
        let postgres = spawn_blocking(move || PrivatePostgres::open(&data_dir)).await??;
        Ok(Self { folder, postgres })
    }

    /// Stops the Postgres.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        spawn_blocking(|| self.postgres.close()).await?
    }

    /// Stops the Postgres, and removes its data, which take tens of gigabytes.
    pub(crate) async fn clear(self) -> anyhow::Result<()> {
        let data_dir = self.file("data");
        self.close().await?;
        Ok(fs::remove_dir_all(data_dir)?)
    }

    /// A file of this run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// An empty folder of this run; an existing one is removed.
    pub(crate) fn empty_folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.file(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// The database of this name.
    pub(crate) fn url(&self, database: &str) -> String {
        self.postgres.url().replace("/identityd?", &format!("/{database}?"))
    }

    /// A connection to the database `postgres`, which no contestant uses.
    pub(crate) async fn connect(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.postgres.url()).await?)
    }

    /// An empty database of this name; an existing one is dropped. A checkpoint writes the pages that an earlier
    /// workload left in memory, so that the next one does not pay for them.
    pub(crate) async fn database(&self, name: &str) -> anyhow::Result<PgPool> {
        let mut connection = self.connect().await?;
        connection.execute(format!("drop database if exists {name} with (force)").as_str()).await?;
        connection.execute(format!("create database {name}").as_str()).await?;
        connection.execute("checkpoint").await?;
        self.pool(name).await
    }

    /// The database of this name, if this run has created it.
    pub(crate) async fn existing(&self, name: &str) -> anyhow::Result<Option<PgPool>> {
        let query = "select exists (select from pg_database where datname = $1)";
        let exists: bool = sqlx::query_scalar(query).bind(name).fetch_one(&mut self.connect().await?).await?;
        Ok(if exists { Some(self.pool(name).await?) } else { None })
    }

    async fn pool(&self, name: &str) -> anyhow::Result<PgPool> {
        let pool = PgPoolOptions::new().max_connections(4).test_before_acquire(false);
        Ok(pool.connect(&self.url(name)).await?)
    }

    /// Runs this program as a server. The last word of its first line is the address where it listens.
    pub(crate) async fn serve(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Server> {
        let path = std::env::current_exe()?.with_file_name(program);
        let log = File::create(self.file(&format!("{}.log", arguments.first().unwrap_or(&program))))?;
        let started = Instant::now();
        let mut child = Command::new(&path)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", path.display()))?;
        let output = child.stdout.take().context("the server has no output")?;
        let mut lines = BufReader::new(output).lines();
        let line = tokio::time::timeout(START_TIMEOUT, lines.next_line()).await.context("no server")??;
        let line = line.with_context(|| format!("{program} ended instead of listening"))?;
        let address = line.rsplit("//").next().and_then(|word| word.parse().ok());
        let address = address.with_context(|| format!("{program} printed {line:?}, and no address"))?;
        Ok(Server { child, _output: lines, address, ready_after: started.elapsed() })
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    /// The rest of what it prints. Held open, since a program whose output is closed may end.
    _output: Lines<BufReader<ChildStdout>>,
    /// The address where it listens.
    pub(crate) address: SocketAddr,
    /// The time until it listened.
    pub(crate) ready_after: Duration,
}

impl Server {
    /// Its resident memory in MiB.
    pub(crate) fn resident(&self) -> anyhow::Result<f64> {
        self.memory("VmRSS:")
    }

    /// The maximum of its resident memory, in MiB.
    pub(crate) fn peak(&self) -> anyhow::Result<f64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, kind: &str) -> anyhow::Result<f64> {
        memory(self.child.id().context("the server has ended")?, kind)
    }

    /// Ends the server.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot stop a server")
    }
}

/// The maximum of the resident memory of a process that runs, in MiB.
pub(crate) fn peak(process: u32) -> anyhow::Result<f64> {
    memory(process, "VmHWM:")
}

fn memory(process: u32, kind: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(kind));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u32>().ok());
    let Some(kibibytes) = kibibytes else { bail!("the kernel does not tell the memory of a process") };
    Ok(f64::from(kibibytes) / 1024.0)
}

/// Runs vacuum, analyze and a checkpoint, so that autovacuum and the checkpointer do not run in a turn of a contestant.
pub(crate) async fn tidy(pool: &PgPool) -> anyhow::Result<()> {
    // One by one, since a vacuum cannot be in one message with other statements.
    for statement in ["vacuum analyze", "checkpoint"] {
        sqlx::raw_sql(statement).execute(pool).await.with_context(|| format!("cannot {statement}"))?;
    }
    Ok(())
}
