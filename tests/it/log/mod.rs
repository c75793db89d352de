//! The event log alone, on a real Postgres: positions, batches, refusals and seals.

mod ahead;
mod authority;
mod batch_order;
mod batches;
mod ciphertexts;
mod crowds;
mod outages;
mod processes;
mod refusals;
mod seals;
mod second_reader;
mod shown_access;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use identity_domain::identity::{Command as IdentityCommand, Create, Mailbox, TlsMode, Tunnel, Update};
use identity_domain::{Command, Handle, Kind, Rejection, State, vault_secret};
use identity_log::second_reader::SecondReader;
use identity_log::{
    Actor, Append, AppendError, Committed, Committer, Fate, Log, Metadata, Recorded, Settings, ShownAccess,
    connect_options, ids, read,
};
use identity_proof::SigningKey;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use crate::harness::{Database, eventually, wait};

/// How long a test waits for a state before it fails.
const TEST_TIMEOUT: Duration = Duration::from_mins(1);

/// Waits until a query returns true, and fails the test after a minute.
async fn becomes_true(pool: &PgPool, query: &str) {
    let asking = async {
        while !sqlx::query_scalar::<_, bool>(query).fetch_one(pool).await.unwrap() {
            tokio::task::yield_now().await;
        }
    };
    let asked = tokio::time::timeout(TEST_TIMEOUT, asking).await;
    assert!(asked.is_ok(), "gave up waiting until: {query}");
}

type Answer = Result<Committed, AppendError>;

/// The organization of all commands, unless a test says otherwise.
const HARBOR: &str = "org_harbor";

/// An empty log over a database for one test.
struct History {
    database: Database,
    name_hold: Duration,
}

impl History {
    fn new() -> Self {
        Self::with_name_hold(Duration::from_hours(1))
    }

    fn with_name_hold(name_hold: Duration) -> Self {
        Self { database: Database::create(), name_hold }
    }

    /// Another handle of the same log, with its own committer, as another process has.
    fn open(&self) -> (Log, Committer) {
        open(connect_options(self.database.pool()), self.name_hold)
    }

    /// Appends a command that must succeed, in a batch of its own.
    #[track_caller]
    fn append(&self, append: Append) -> Committed {
        let [answer] = self.in_one_batch([append]);
        answer.expect("the command is accepted")
    }

    /// Appends commands in one batch, in this order: they are queued before the committer runs.
    #[track_caller]
    fn in_one_batch<const N: usize>(&self, appends: [Append; N]) -> [Answer; N] {
        let (log, committer) = self.open();
        let before = self.head();
        let answers = wait(futures::future::join(queued(log, appends), committer.run())).0;
        let transactions = format!("select count(distinct xmin::text) from events where position > {before}");
        assert!(self.database.number(&transactions) <= 1, "the batch was torn apart");
        answers
    }

    fn head(&self) -> i64 {
        wait(read::head(self.database.pool())).unwrap()
    }

    /// All events.
    fn events(&self) -> Vec<Recorded> {
        wait(read::page(self.database.pool(), 0, i64::MAX)).unwrap()
    }
}

fn open(options: PgConnectOptions, name_hold: Duration) -> (Log, Committer) {
    Log::open(
        options,
        identity_projections::all(),
        Settings::new(name_hold, SigningKey::from_seed(&[7; 32]).seal_key()),
    )
}

/// Queues all commands before it waits for the first answer. The log is dropped then, so the committer ends after the
/// last command.
async fn queued<const N: usize>(log: Log, appends: [Append; N]) -> [Answer; N] {
    queue(log, appends).await.await
}

/// Queues all commands at once. A committer that runs in the same task finds all of them.
async fn queue<const N: usize>(log: Log, appends: [Append; N]) -> impl Future<Output = [Answer; N]> + Send {
    let mut answers = Vec::with_capacity(N);
    for append in appends {
        let log = log.clone();
        let mut answer = Box::pin(async move { log.append(append).await });
        assert!(futures::poll!(&mut answer).is_pending(), "answered before anybody committed");
        answers.push(answer);
    }
    futures::future::join_all(answers)
        .map(|answers| answers.try_into().expect("every command has its answer"))
}

/// State and version of an aggregate, loaded by postgres-es.
fn loaded(history: &History, kind: Kind, id: &str, upto: i64) -> (State, usize) {
    let mut reader = SecondReader::new(history.database.pool(), kind, id, upto);
    let mut version = 0;
    while let Some(event) = wait(reader.next(i64::try_from(version).unwrap() + 1)).unwrap() {
        version += 1;
        assert_eq!(usize::try_from(event.sequence), Ok(version));
        event.event.unwrap();
    }
    (reader.state(), version)
}

/// A command of the operator, without an expected version.
fn ask(aggregate_id: &(impl ToString + ?Sized), command: Command) -> Append {
    Append {
        organization_id: HARBOR.to_owned(),
        aggregate_id: aggregate_id.to_string(),
        command,
        actor: Actor::Operator,
        secret_sha256: String::new(),
        metadata: Metadata::new(&Actor::Operator, "req_test"),
        expected_version: None,
        repeatable: None,
        shown_access: ShownAccess::None,
        ciphertexts: vec![],
        companion: None,
        is_bulk: false,
        fate: Fate::default(),
    }
}

fn ask_identity(id: Uuid, command: IdentityCommand) -> Append {
    ask(&id, Command::Identity(command))
}

fn at_version(version: i64, append: Append) -> Append {
    Append { expected_version: Some(version), ..append }
}

fn of_organization(organization: &str, append: Append) -> Append {
    Append { organization_id: organization.to_owned(), ..append }
}

fn birth(id: Uuid, handle: &str) -> Create {
    Create {
        id,
        agent_handle: Handle::parse(handle).unwrap(),
        display_name: None,
        description: None,
        imessage_enabled: false,
        contact_sharing_enabled: true,
        mailbox: Mailbox { id: ids::mint(), email_address: format!("{handle}@agents.localhost") },
        tunnel: Tunnel { id: ids::mint(), tls_mode: TlsMode::Edge, zone: "tunnels.localhost".to_owned() },
        phone: None,
        secrets: None,
    }
}

fn born(create: Create) -> Append {
    ask_identity(create.id, IdentityCommand::Create(Box::new(create)))
}

fn create(id: Uuid, handle: &str) -> Append {
    born(birth(id, handle))
}

fn update(id: Uuid, update: Update) -> Append {
    ask_identity(id, IdentityCommand::Update(Box::new(update)))
}

fn rename(id: Uuid, handle: &str) -> Append {
    update(id, Update { agent_handle: Some(Handle::parse(handle).unwrap()), ..Update::default() })
}

fn describe(id: Uuid, description: &str) -> Append {
    update(id, Update { description: Some(Some(description.to_owned())), ..Update::default() })
}

fn delete(id: Uuid) -> Append {
    ask_identity(id, IdentityCommand::Delete)
}

fn grant(id: Uuid, viewer: Uuid) -> Append {
    ask_identity(id, IdentityCommand::GrantVisibility { access_id: ids::mint(), viewer })
}

fn register(id: Uuid, name: &str) -> Append {
    let registration = vault_secret::Registration {
        name: name.to_owned(),
        secret_type: vault_secret::SecretType::Other,
        description: None,
    };
    ask(&id, Command::VaultSecret(vault_secret::Command::Register { registration, content_sha256: None }))
}

/// Asserts that the rules refused a command.
#[track_caller]
fn rejected(answer: Answer, expected: impl Into<Rejection>) {
    match answer {
        Err(AppendError::Rejected(rejection)) => assert_eq!(rejection, expected.into()),
        other => panic!("{other:?} is no refusal by the rules"),
    }
}

/// The types of the events of a command.
#[track_caller]
fn names(answer: &Answer) -> Vec<&'static str> {
    let committed = answer.as_ref().expect("the command is accepted");
    committed.events.iter().map(|recorded| recorded.event.name()).collect()
}
