//! A trial: whether events can be written, without writing any for good.
//!
//! It writes an organization with one aggregate of every type, as the committer does under the lock, and rolls back. So it fails as
//! every other write would: a disk is full, an index or a privilege is missing, somebody has put a rule on a table, or keeps
//! `log_head` locked, or the clock of the database has jumped ahead. Before it writes, it compares `organization_heads` with the
//! last events: a new organization could be written although writes of the others fail.

use std::sync::Arc;
use std::time::Duration;

use identity_domain::api_key::{Command as KeyCommand, Issue, Scope};
use identity_domain::identity::{Command as IdentityCommand, Create, Mailbox, TlsMode, Tunnel};
use identity_domain::vault::{Command as VaultCommand, Key, KeyType};
use identity_domain::vault_secret::{Command as SecretCommand, Registration, SecretType};
use identity_domain::webhook_subscription::{
    Command as SubscriptionCommand, Creation, Owner, OwnerKind, Settings as SubscriptionSettings,
};
use identity_domain::{Command, Handle, organization};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::sync::watch;
use uuid::Uuid;

use super::batch::write_uncommitted;
use super::clock_jump::ClockGuard;
use super::deps::{Deps, LastCommit};
use super::draft::draft;
use super::head::{LogHead, check_organizations};
use super::last_batch::LastBatch;
use super::metrics::Metrics;
use super::queue::Outcome;
use crate::append::{Append, Committed, Compose, Fate, Kept, NotComposed, Repeatable, ShownAccess};
use crate::ciphertexts::CiphertextChange;
use crate::error::{AppendError, BatchError};
use crate::event::ids;
use crate::event::metadata::{Actor, Metadata};
use crate::read_model::ReadModel;
use crate::settings::Settings;

/// How long a commit shows that events can be written. A busy process makes no trials.
const COMMIT_COUNTS_FOR: Duration = Duration::from_secs(10);

/// Uses the committer's search path. Waits at most 2 s for `log_head`. If this process hangs, Postgres ends the trial after 4 s.
const SETTINGS: &str = "set local search_path = read_model, public; set local lock_timeout = '2s'; \
                        set local statement_timeout = '4s'; set local idle_in_transaction_session_timeout = '4s'";

/// The name of everything that a trial writes.
const TRIAL: &str = "trial";

/// Makes trials for one log.
pub(crate) struct Trial(Deps);

impl std::fmt::Debug for Trial {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Trial").finish_non_exhaustive()
    }
}

impl Trial {
    pub(crate) fn new(process: Uuid, read_models: Vec<Arc<dyn ReadModel>>, settings: Settings) -> Self {
        Self(Deps {
            process,
            read_models,
            clock_guard: ClockGuard::new(settings.max_clock_jump),
            settings,
            observers: vec![],
            metrics: Metrics::default(),
            last_commit: LastCommit::default(),
            committed: watch::Sender::new(()),
        })
    }

    /// When the log of this trial has last committed.
    pub(crate) fn last_commit(&self) -> &LastCommit {
        &self.0.last_commit
    }

    /// What is known of the clock of the database, by trials and by commits.
    pub(crate) fn clock_guard(&self) -> &ClockGuard {
        &self.0.clock_guard
    }

    pub(crate) fn has_just_committed(&self) -> bool {
        self.0.last_commit.is_within(COMMIT_COUNTS_FOR)
    }

    pub(crate) async fn try_write(&self, connection: &mut PgConnection) -> Result<(), AppendError> {
        let written = self.write_and_roll_back(connection).await;
        written
            .map_err(|error| AppendError::nothing_written(Arc::new(error)))?
            .into_iter()
            .try_for_each(|outcome| outcome.map(drop))
    }

    async fn write_and_roll_back(&self, connection: &mut PgConnection) -> Result<Vec<Outcome>, BatchError> {
        let mut transaction = connection.begin().await?;
        transaction.execute(SETTINGS).await?;
        check_organizations(&mut transaction).await?;
        let head = LogHead::lock_for_trial(&mut transaction, &self.0.settings.seal_key).await?;
        self.0.clock_guard.check(head.clock())?;
        let appends = appends();
        let appends: Vec<&Append> = appends.iter().collect();
        let last_batch = LastBatch::resume(None, head);
        let (mut draft, _) = draft(&mut transaction, &self.0, last_batch, &appends).await?;
        write_uncommitted(&mut transaction, &mut draft, &appends).await?;
        transaction.rollback().await?;
        Ok(draft.outcomes)
    }
}

/// A command to one aggregate of each type, in a new organization.
fn appends() -> Vec<Append> {
    let (organization_id, identity_id) = (ids::mint_organization(), ids::mint());
    let append = |aggregate_id: &str, command: Command| Append {
        organization_id: organization_id.clone(),
        aggregate_id: aggregate_id.to_owned(),
        command,
        actor: Actor::Operator,
        secret_sha256: String::new(),
        metadata: Metadata::new(&Actor::Operator, TRIAL),
        expected_version: None,
        repeatable: None,
        shown_access: ShownAccess::None,
        ciphertexts: vec![],
        companion: None,
        is_bulk: false,
        fate: Fate::default(),
    };
    let new = |command: Command| append(&ids::mint().to_string(), command);
    let organization = organization::Command::Create { name: TRIAL.to_owned() };
    let mut appends = vec![
        append(&organization_id, Command::Organization(organization)),
        new(Command::ApiKey(issue())),
        append(&organization_id, Command::Vault(initialize())),
        Append { ciphertexts: vec![ciphertext()], ..new(Command::VaultSecret(register())) },
        new(Command::WebhookSubscription(subscribe(identity_id))),
    ];
    appends.extend(create(identity_id).map(|create| Append {
        repeatable: Some(repeatable()),
        ..append(&identity_id.to_string(), Command::Identity(create))
    }));
    appends
}

fn digest() -> String {
    "0".repeat(64)
}

fn issue() -> KeyCommand {
    KeyCommand::Issue(Box::new(Issue {
        label: TRIAL.to_owned(),
        description: None,
        scope: Scope::Auditor,
        secret_sha256: digest(),
        last4: String::new(),
        created_by: Actor::Operator.id(),
        expires_at: None,
    }))
}

fn initialize() -> VaultCommand {
    let key = Key { id: ids::mint(), key_type: KeyType::Primary, wrapped_sha256: digest() };
    VaultCommand::Initialize { keys: vec![key] }
}

fn register() -> SecretCommand {
    let registration =
        Registration { name: TRIAL.to_owned(), secret_type: SecretType::Other, description: None };
    SecretCommand::Register { registration, content_sha256: Some(digest()) }
}

fn ciphertext() -> CiphertextChange {
    CiphertextChange::Put { name: TRIAL.to_owned(), ciphertext: vec![] }
}

fn subscribe(identity_id: Uuid) -> SubscriptionCommand {
    let owner = Owner { kind: OwnerKind::Identity, id: identity_id };
    let settings = SubscriptionSettings {
        url: TRIAL.to_owned(),
        event_types: vec![],
        context_config: None,
        has_auth_token: false,
    };
    SubscriptionCommand::Create(Box::new(Creation { identity_id, owner, settings }))
}

/// Nothing, if no handle could be made of an id.
fn create(id: Uuid) -> Option<IdentityCommand> {
    let agent_handle = Handle::parse(&format!("{TRIAL}-{}", ids::mint_random().simple())).ok()?;
    let email_address = format!("{}@{TRIAL}.invalid", agent_handle.as_str());
    Some(IdentityCommand::Create(Box::new(Create {
        id,
        agent_handle,
        display_name: None,
        description: None,
        imessage_enabled: false,
        contact_sharing_enabled: false,
        mailbox: Mailbox { id: ids::mint(), email_address },
        tunnel: Tunnel { id: ids::mint(), tls_mode: TlsMode::Edge, zone: format!("{TRIAL}.invalid") },
        phone: None,
        secrets: None,
    })))
}

fn repeatable() -> Repeatable {
    Repeatable { key: TRIAL.to_owned(), fingerprint: [0; 32], answer: Arc::new(NoAnswer) }
}

/// The answer to a trial, which nobody gets.
struct NoAnswer;

impl Compose for NoAnswer {
    fn compose(&self, _: &Committed) -> Result<Kept, NotComposed> {
        Ok(Kept { status: 200, body: String::new(), entity_tag: String::new() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use identity_domain::Kind;

    #[test]
    fn a_trial_writes_an_aggregate_of_every_type() {
        let kinds: HashSet<Kind> = super::appends().iter().map(|append| append.command.kind()).collect();
        assert_eq!(kinds, Kind::ALL.into_iter().collect());
    }
}
