//! UmaDB, run as its README says: a server process that stores events in a folder, and one gRPC client for each writer.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;
use umadb_client::{AsyncUmaDbClient, UmaDbClient};
use umadb_dcb::{DcbAppendCondition, DcbEvent, DcbEventStoreAsync as _, DcbQuery, DcbQueryItem};

use crate::identity::{ACTOR, Created, mint};
use crate::peer::Peer;

/// How long the server may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The server, and its clients.
pub(crate) struct Identities {
    /// The clients that no append uses at the moment.
    idle: Mutex<Vec<AsyncUmaDbClient>>,
    _server: Server,
}

/// The process, which ends when this is dropped.
struct Server {
    _process: Child,
    /// The rest of what it prints. Held open, since it panics if it cannot print.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Peer for Identities {
    const CRATE: &'static str = "umadb";

    async fn open(folder: &str, writers: u32) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let server = timeout(START_TIMEOUT, serve(folder, &address)).await.context("no server")??;
        let client = UmaDbClient::new(format!("http://{address}"));
        let mut idle = Vec::new();
        for _ in 0..writers {
            idle.push(client.connect_async().await?);
        }
        Ok(Self { idle: Mutex::new(idle), _server: server })
    }

    async fn append(&self, created: Created) -> anyhow::Result<()> {
        let client = self.idle.lock().await.pop().context("there are more appends than writers")?;
        let tag = format!("identity:{}", created.id);
        let the_stream = DcbQuery::new().item(DcbQueryItem::new().tags([&tag]));
        let event = DcbEvent::new()
            .event_type("identity.created")
            .tags([tag])
            .data(serde_json::to_vec(&created)?)
            .uuid(mint())
            .metadata([
                ("correlation_id", mint().to_string()),
                ("causation_id", mint().to_string()),
                ("actor", ACTOR.to_owned()),
            ]);
        client.append(vec![event], Some(DcbAppendCondition::new(the_stream)), None).await?;
        self.idle.lock().await.push(client);
        Ok(())
    }

    async fn count(&self, _folder: &str) -> anyhow::Result<usize> {
        let client = self.idle.lock().await.pop().context("an append is not answered")?;
        let mut events = client.read(None, None, false, None).await?;
        let mut count = 0;
        while let Some(event) = events.next().await {
            count += 1;
            ensure!(event?.position == u64::try_from(count)?, "the positions have a gap at {count}");
        }
        Ok(count)
    }
}

/// Starts the server with its default settings. Returns when it listens.
async fn serve(folder: &str, address: &str) -> anyhow::Result<Server> {
    let program = std::env::current_exe()?.with_file_name("umadb");
    let mut process = Command::new(&program)
        .args(["--listen", address, "--db-path", folder])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let mut lines = BufReader::new(process.stdout.take().context("the server has no output")?).lines();
    loop {
        let line = lines.next_line().await?.context("the server ended instead of listening")?;
        if line.starts_with("UmaDB is listening on") {
            return Ok(Server { _process: process, _output: lines });
        }
    }
}
