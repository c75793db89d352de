//! The data that exists before a workload begins. Ours is written through the log, with many commands in flight. That
//! of the stock stack is copied from ours in bulk, because writing it with the stock stack would take longer than all
//! workloads together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use identity_domain::identity::{Command, Create, Mailbox, TlsMode, Tunnel, Update};
use identity_domain::{Command as AnyCommand, Handle};
use identity_log::{Actor, Append, Fate, Log, Metadata, Settings, ShownAccess, connect_options, ids};
use identityd::signing::SigningSettings;
use sqlx::PgPool;
use uuid::Uuid;

use crate::load::{Measured, microseconds};

/// How many commands are in flight at the same time.
const COMMANDS_IN_FLIGHT: usize = 1024;

/// Identities that a workload starts from: `prefix-0`, `prefix-1` and so on.
#[derive(Debug, Clone)]
pub(crate) struct Seeded {
    /// The prefix of their handles.
    pub(crate) prefix: String,
    /// Their ids.
    pub(crate) ids: Arc<[Uuid]>,
}

impl Seeded {
    /// The handle of the identity with this number.
    pub(crate) fn handle(&self, number: usize) -> String {
        format!("{}-{number}", self.prefix)
    }
}

/// Writes into the log of a database.
pub(crate) struct Seeder {
    log: Log,
    organization_id: String,
}

impl Seeder {
    /// Runs `work` with a seeder for an organization, which seals like the service, while its committer runs.
    pub(crate) async fn with<T>(
        pool: &PgPool,
        signing: &SigningSettings,
        organization_id: &str,
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let (log, committer) = Log::open(
            connect_options(pool),
            identity_projections::all(),
            Settings::new(Duration::ZERO, signing.seal_key(pool).await?),
        );
        let seeder = Self { log, organization_id: organization_id.to_owned() };
        let committing = tokio::spawn(committer.run());
        let outcome = work(&seeder).await;
        drop(seeder);
        committing.await?;
        outcome
    }

    /// Creates `count` identities.
    pub(crate) async fn create(&self, prefix: &str, count: usize) -> anyhow::Result<Seeded> {
        self.create_from(prefix, 0, count).await
    }

    /// Creates identities that are numbered from `first`.
    pub(crate) async fn create_from(
        &self,
        prefix: &str,
        first: usize,
        count: usize,
    ) -> anyhow::Result<Seeded> {
        let ids: Vec<Uuid> = (0..count).map(|_| ids::mint()).collect();
        let seeded = Seeded { prefix: prefix.to_owned(), ids: ids.into() };
        stream::iter(seeded.ids.iter().zip(first..))
            .map(|(id, number)| self.create_one(*id, seeded.handle(number)))
            .buffer_unordered(COMMANDS_IN_FLIGHT)
            .try_collect::<()>()
            .await?;
        Ok(seeded)
    }

    async fn create_one(&self, id: Uuid, handle: String) -> anyhow::Result<()> {
        self.append(id, Command::Create(Box::new(create(id, &handle)?))).await
    }

    /// Lets writers create identities for a time. Each writer sends its next command when the last one is answered.
    pub(crate) async fn append_for(
        &self,
        prefix: &str,
        writers: usize,
        time: Duration,
    ) -> anyhow::Result<Measured> {
        let started = Instant::now();
        let write = |writer: usize| async move {
            let mut latencies = vec![];
            while started.elapsed() < time {
                let asked = Instant::now();
                self.create_one(ids::mint(), format!("{prefix}-{writer}-{}", latencies.len())).await?;
                latencies.push(microseconds(asked.elapsed()));
            }
            anyhow::Ok(latencies)
        };
        let written = futures::future::try_join_all((0..writers).map(write)).await?;
        let mut measured = Measured { elapsed: started.elapsed(), ..Measured::default() };
        measured.latencies = written.into_iter().flatten().collect();
        measured.latencies.sort_unstable();
        Ok(measured)
    }

    /// Appends `turns` events to every identity. Each changes the description.
    pub(crate) async fn describe(&self, seeded: &Seeded, turns: usize) -> anyhow::Result<()> {
        for turn in 0..turns {
            let description = format!("Answers letters, since turn {turn} in another tone");
            stream::iter(seeded.ids.iter())
                .map(|id| {
                    let description = Some(Some(description.clone()));
                    self.append(*id, Command::Update(Box::new(Update { description, ..Update::default() })))
                })
                .buffer_unordered(COMMANDS_IN_FLIGHT)
                .try_collect::<()>()
                .await?;
        }
        Ok(())
    }

    async fn append(&self, id: Uuid, command: Command) -> anyhow::Result<()> {
        let append = Append {
            organization_id: self.organization_id.clone(),
            aggregate_id: id.to_string(),
            command: AnyCommand::Identity(command),
            actor: Actor::Operator,
            secret_sha256: String::new(),
            metadata: Metadata::new(&Actor::Operator, "seed"),
            expected_version: None,
            repeatable: None,
            shown_access: ShownAccess::None,
            ciphertexts: vec![],
            companion: None,
            is_bulk: false,
            fate: Fate::default(),
        };
        self.log.append(append).await.context("cannot seed")?;
        Ok(())
    }
}

/// The command that the API makes of the body of a create.
pub(crate) fn create(id: Uuid, handle: &str) -> anyhow::Result<Create> {
    Ok(Create {
        id,
        agent_handle: Handle::parse(handle)?,
        display_name: Some(format!("Agent {handle}")),
        description: Some("Answers letters".to_owned()),
        imessage_enabled: false,
        contact_sharing_enabled: true,
        mailbox: Mailbox { id: ids::mint(), email_address: format!("{handle}@agents.localhost") },
        tunnel: Tunnel { id: ids::mint(), tls_mode: TlsMode::Edge, zone: "tunnels.localhost".to_owned() },
        phone: None,
        secrets: None,
    })
}

/// Copies the result of a query on one database into a table of another. Returns the number of bytes and the time.
pub(crate) async fn copy(
    from: &PgPool,
    query: &str,
    to: &PgPool,
    table: &str,
) -> anyhow::Result<(usize, Duration)> {
    let (mut source, mut target) = (from.acquire().await?, to.acquire().await?);
    let started = Instant::now();
    let mut rows = source.copy_out_raw(&format!("copy ({query}) to stdout (format binary)")).await?;
    let mut sink = target.copy_in_raw(&format!("copy {table} from stdin (format binary)")).await?;
    let mut bytes = 0;
    while let Some(chunk) = rows.try_next().await? {
        bytes += chunk.len();
        sink.send(chunk).await?;
    }
    sink.finish().await?;
    Ok((bytes, started.elapsed()))
}

/// Reads the result of a query and drops it. Returns the number of bytes, and the times of the first and the last one.
pub(crate) async fn read(from: &PgPool, query: &str) -> anyhow::Result<(usize, Duration, Duration)> {
    let mut source = from.acquire().await?;
    let started = Instant::now();
    let mut rows = source.copy_out_raw(&format!("copy ({query}) to stdout (format binary)")).await?;
    let (mut bytes, mut first) = (0, None);
    while let Some(chunk) = rows.try_next().await? {
        first.get_or_insert_with(|| started.elapsed());
        bytes += chunk.len();
    }
    Ok((bytes, first.unwrap_or_default(), started.elapsed()))
}
