//! The service that is measured: a process with a database, an organization and an admin key.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use identityd::operator::{NewOrganization, Operator, Purpose};
use identityd::signing::SigningSettings;
use secrecy::ExposeSecret as _;
use sqlx::PgPool;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::arena::{Arena, Server, tidy};
use crate::results::{Results, Round};
use crate::scale::Scale;
use crate::seed::{Seeded, Seeder};

/// The database with a long history.
pub(crate) const HISTORY: &str = "history";

/// How many events each of its identities has after the first.
pub(crate) const TURNS: usize = 4;

/// How often the last checkpoint is read while the bench waits for signing.
const CHECKPOINT_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How often the bench looks whether the service is the only process that writes.
const SOLE_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running service.
pub(crate) struct Ours {
    /// The process.
    pub(crate) server: Server,
    /// The name of its database.
    database: String,
    /// Its database.
    pub(crate) pool: PgPool,
    /// The key of the service.
    pub(crate) signing: SigningSettings,
    /// The organization.
    pub(crate) organization_id: String,
    /// Its admin key.
    pub(crate) key: String,
}

impl Ours {
    /// Starts the service over an empty database.
    pub(crate) async fn start(arena: &Arena, database: &str) -> anyhow::Result<Self> {
        Self::start_with(arena, database, &[]).await
    }

    /// The same with further flags.
    pub(crate) async fn start_with(arena: &Arena, database: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let pool = arena.database(database).await?;
        let server = serve_with(arena, database, flags).await?;
        let signing = signing(arena);
        let NewOrganization { organization_id, api_key } =
            Operator::new(pool.clone(), signing.clone()).create_organization("bench").await?;
        let key = api_key.expose_secret().to_owned();
        Ok(Self { server, database: database.to_owned(), pool, signing, organization_id, key })
    }

    /// Starts the service over a long history: each identity of the scale was created and then changed four times.
    /// The history is created once, and used by all workloads that need it.
    pub(crate) async fn with_history(
        arena: &Arena,
        scale: Scale,
        results: &mut Results,
    ) -> anyhow::Result<Self> {
        if let Some(pool) = arena.existing(HISTORY).await? {
            return Self::over(arena, HISTORY, pool).await;
        }
        let ours = Self::start(arena, HISTORY).await?;
        let started = Instant::now();
        ours.seeding(async |seeder| {
            let seeded = seeder.create("rebuilt", scale.rebuilt).await?;
            seeder.describe(&seeded, TURNS).await
        })
        .await?;
        let events = scale.rebuilt * (TURNS + 1);
        results.notes.push(format!(
            "the {events} events of the history were appended through the log at {:.0} a second",
            Round::work(events, started.elapsed()).per_second
        ));
        tidy(&ours.pool).await?;
        Ok(ours)
    }

    /// Starts the service over the one organization of a database.
    async fn over(arena: &Arena, database: &str, pool: PgPool) -> anyhow::Result<Self> {
        let server = serve(arena, database).await?;
        let organization_id: String =
            sqlx::query_scalar("select id from read_model.organizations").fetch_one(&pool).await?;
        let signing = signing(arena);
        let operator = Operator::new(pool.clone(), signing.clone());
        let key = operator.issue_key(&organization_id, "bench", Purpose::Admin).await?;
        let key = key.api_key.expose_secret().to_owned();
        Ok(Self { server, database: database.to_owned(), pool, signing, organization_id, key })
    }

    /// Stops the service and starts it again.
    pub(crate) async fn restart(self, arena: &Arena) -> anyhow::Result<Self> {
        self.server.stop().await?;
        let server = serve(arena, &self.database).await?;
        Ok(Self { server, ..self })
    }

    /// Returns once the service is the only process that writes, and so answers from memory without asking. The bench itself has
    /// written to its database before.
    pub(crate) async fn becomes_sole(&self) -> anyhow::Result<()> {
        let query = "select sole_process is not null from log_head";
        while !sqlx::query_scalar::<_, bool>(query).fetch_one(&self.pool).await? {
            tokio::time::sleep(SOLE_POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// How many events the organization has.
    pub(crate) async fn events(&self) -> anyhow::Result<usize> {
        let query = "select sequence from organization_heads where organization_id = $1";
        let events: i64 = sqlx::query_scalar(query).bind(&self.organization_id).fetch_one(&self.pool).await?;
        Ok(usize::try_from(events)?)
    }

    /// Returns once the last checkpoint covers the last event.
    pub(crate) async fn all_signed(&self) -> anyhow::Result<()> {
        let events = self.events().await?;
        loop {
            let note = self.get("/log/checkpoint").await?;
            if note.lines().nth(1).and_then(|size| size.parse().ok()) == Some(events) {
                return Ok(());
            }
            tokio::time::sleep(CHECKPOINT_POLL_INTERVAL).await;
        }
    }

    /// Signs the log as it is in a new epoch, also events that were written in bulk and have no seals.
    pub(crate) async fn sign_as_it_is(&self) -> anyhow::Result<()> {
        let signer = self.signing.any_signer(self.pool.clone())?;
        signer.begin_epoch(&self.organization_id).await.context("cannot sign what was written in bulk")?;
        Ok(())
    }

    /// The body of an answer.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut answer = String::new();
        self.ask(path, "*/*").await?.read_to_string(&mut answer).await?;
        let (_head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
        Ok(body.to_owned())
    }

    /// A connection for one request.
    pub(crate) async fn ask(&self, path: &str, accept: &str) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.server.address).await?;
        let request = format!(
            "GET /api/v1{path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\naccept: {accept}\r\nconnection: close\r\n\r\n",
            self.key
        );
        stream.write_all(request.as_bytes()).await?;
        Ok(stream)
    }

    /// Runs `work` with a seeder for the organization.
    pub(crate) async fn seeding<T>(
        &self,
        work: impl AsyncFnOnce(&Seeder) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        Seeder::with(&self.pool, &self.signing, &self.organization_id, work).await
    }

    /// Creates identities, and then runs vacuum and a checkpoint.
    pub(crate) async fn seed(&self, prefix: &str, count: usize) -> anyhow::Result<Seeded> {
        let seeded = self.seeding(async |seeder| seeder.create(prefix, count).await).await?;
        tidy(&self.pool).await?;
        Ok(seeded)
    }

    /// Creates identities of another organization.
    pub(crate) async fn seed_of(
        &self,
        organization_id: &str,
        prefix: &str,
        count: usize,
    ) -> anyhow::Result<Seeded> {
        let create = async |seeder: &Seeder| seeder.create(prefix, count).await;
        Seeder::with(&self.pool, &self.signing, organization_id, create).await
    }

    /// Agent keys of the first identities of `seeded`, with the numbers of those identities.
    pub(crate) async fn agents(&self, seeded: &Seeded, count: usize) -> anyhow::Result<Vec<(usize, String)>> {
        let operator = Operator::new(self.pool.clone(), self.signing.clone());
        let mut keys = Vec::with_capacity(count);
        for number in 0..count.min(seeded.ids.len()) {
            let handle = seeded.handle(number);
            let key = operator.issue_key(&self.organization_id, "agent", Purpose::Agent(&handle)).await?;
            keys.push((number, key.api_key.expose_secret().to_owned()));
        }
        Ok(keys)
    }

    /// Stops the service, and closes the connections to its database.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.server.stop().await?;
        self.pool.close().await;
        Ok(())
    }
}

/// The workloads do in seconds what organizations do in days.
const WITHOUT_QUOTAS: [&str; 8] = [
    "--organization-identities-per-day=0",
    "--organization-secrets-per-day=0",
    "--organization-changes-per-day=0",
    "--agent-changes-per-day=0",
    "--key-keys-per-day=0",
    "--key-openings-per-day=0",
    "--key-grants-per-day=0",
    "--identity-renames-per-day=0",
];

/// Starts the service over an existing database.
pub(crate) async fn serve(arena: &Arena, database: &str) -> anyhow::Result<Server> {
    serve_with(arena, database, &[]).await
}

/// The same with further flags.
pub(crate) async fn serve_with(arena: &Arena, database: &str, flags: &[&str]) -> anyhow::Result<Server> {
    let (url, data_dir) = (arena.url(database), data_dir(arena));
    let place = ["--database-url", &url, "--data-dir", &data_dir];
    let arguments = [["serve", "--listen", "127.0.0.1:0"].as_slice(), &WITHOUT_QUOTAS, &place, flags];
    arena.serve("identityd", &arguments.concat()).await
}

/// The status of the answer to one request.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    key: &str,
    body: &str,
) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.context("an answer without a status")
}

fn signing(arena: &Arena) -> SigningSettings {
    SigningSettings { data_dir: arena.file("service"), key: None, etcd: None }
}

/// The data folder of the service, for its signing key. The database is not in it.
pub(crate) fn data_dir(arena: &Arena) -> String {
    arena.file("service").to_string_lossy().into_owned()
}
