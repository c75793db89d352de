//! The writes of a caller to the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use identity_domain::identity::Command as IdentityCommand;
use identity_domain::{Command, Kind};
use identity_log::ciphertexts::CiphertextChange;
use identity_log::idempotency::{Kept, Repeatable};
use identity_log::{Append, AppendError, Committed, Metadata, ShownAccess, read};
use uuid::Uuid;

use super::Caller;
use crate::cache::NameRef;
use crate::error::ApiError;
use crate::idempotency::Idempotency;
use crate::limits::Size;
use crate::notices::with_notices;
use crate::precondition::expected_version;
use crate::reply::{Answer, Keeping, NewBody, Reply};
use crate::revision::Revision;
use crate::unconfirmed::Attempt;

/// What a revocation of access costs that is refused, in bytes: all identities of the organization may have been looked up.
const REFUSED_REVOCATION_BYTES: u64 = 64 * 1024;

/// What a row costs that is deleted with an identity, in bytes: as much as a viewer in an event.
const DELETED_ROW_BYTES: u64 = 100;

/// What a write costs, in bytes.
struct Weight {
    /// The body, and what is deleted.
    known: u64,
    /// At least this if the write is refused.
    refused: u64,
    /// What is known of all that it writes.
    size: Size,
}

impl Weight {
    /// The true size, after the write. `None` if it failed; then what was taken for it stays taken.
    fn after(&self, appended: &Result<Committed, AppendError>) -> Option<u64> {
        match appended {
            Ok(committed) => {
                let kept = committed.kept.as_ref().map_or(0, |kept| kept.body.len() as u64);
                Some(self.known.max(committed.payload_bytes) + kept)
            }
            Err(error) if error.is_refusal() => Some(self.known.max(self.refused)),
            Err(_) => None,
        }
    }
}

/// A write to an aggregate of the caller's organization.
#[derive(Debug)]
pub(crate) struct Write {
    aggregate_id: Uuid,
    command: Command,
    /// Changes of the ciphertexts of the aggregate.
    ciphertexts: Vec<CiphertextChange>,
    /// A write to another aggregate. Both are carried out or neither.
    companion: Option<Box<Self>>,
}

impl Write {
    /// A command to an aggregate.
    pub(crate) fn new(aggregate_id: Uuid, command: Command) -> Self {
        Self { aggregate_id, command, ciphertexts: vec![], companion: None }
    }

    /// The same with changes of the ciphertexts of the aggregate.
    pub(crate) fn storing(self, changes: impl IntoIterator<Item = CiphertextChange>) -> Self {
        Self { ciphertexts: changes.into_iter().collect(), ..self }
    }

    /// The same with a command to another aggregate.
    pub(crate) fn with(self, companion: Self) -> Self {
        Self { companion: Some(Box::new(companion)), ..self }
    }
}

impl Caller {
    /// Sends a command to an aggregate of the caller's organization, in the caller's name. `reply` composes the answer.
    pub(crate) async fn write(
        &self,
        aggregate_id: Uuid,
        command: Command,
        expected_version: Option<i64>,
        reply: impl Reply,
    ) -> Result<Response, ApiError> {
        self.write_with(aggregate_id, command, vec![], expected_version, reply).await
    }

    /// The same with changes of the aggregate's ciphertexts.
    pub(crate) async fn write_with(
        &self,
        aggregate_id: Uuid,
        command: Command,
        ciphertexts: Vec<CiphertextChange>,
        expected_version: Option<i64>,
        reply: impl Reply,
    ) -> Result<Response, ApiError> {
        let write = Write::new(aggregate_id, command).storing(ciphertexts);
        self.carry_out(write, expected_version, reply).await
    }

    /// The same for a [`Write`], which may have ciphertexts and a companion.
    pub(crate) async fn carry_out(
        &self,
        write: Write,
        expected_version: Option<i64>,
        reply: impl Reply,
    ) -> Result<Response, ApiError> {
        let aggregate_id = write.aggregate_id;
        self.refuse_reused_key()?;
        self.admission.enter()?;
        self.app.0.limits.daily(&self.key, &write.command, self.idempotency.is_some())?;
        let reply = Arc::new(reply);
        let repeatable = self.idempotency.as_ref().map(|Idempotency { key, fingerprint, .. }| Repeatable {
            key: key.clone(),
            fingerprint: *fingerprint,
            answer: Arc::new(Keeping { reply: Arc::clone(&reply), aggregate_id }),
        });
        // Meanwhile this request uses no connection of the readers.
        self.give_back_turn().await;
        let shown_access = reply.shown_access();
        let append = Append { repeatable, expected_version, shown_access, ..self.to_append(write) };
        let committed = self.append(aggregate_id, append).await?;
        let answer = match &committed.kept {
            Some(Kept { status, body, entity_tag }) => {
                Answer::kept(*status, body.clone(), Some(entity_tag.clone()))
            }
            None => reply.compose(&committed)?,
        };
        if let Some(NewBody { handle, found }) = answer.shown() {
            let name = NameRef { organization_id: self.organization_id(), handle };
            self.app.keep_identity(self.began, name, &self.viewer(), found);
        }
        let revision = Revision::made(aggregate_id, &committed);
        let response = reply.reveal(answer)?.of_revision(revision).into_response();
        Ok(with_notices(response, &committed.events))
    }

    /// Refuses a request whose idempotency key was used for another one. Everything that writes calls this first, after it has
    /// looked for what it changes.
    pub(crate) fn refuse_reused_key(&self) -> Result<(), ApiError> {
        match &self.idempotency {
            Some(Idempotency { is_reused: true, .. }) => Err(ApiError::idempotency_key_reused()),
            _ => Ok(()),
        }
    }

    /// Notes how many rows are deleted with the identity that was found.
    pub(crate) fn deletes_rows(&self, rows: u64) {
        self.found_bytes.fetch_add(rows.saturating_mul(DELETED_ROW_BYTES), Ordering::Relaxed);
    }

    /// Begins the create of an identity with this body.
    pub(crate) fn begin_create<'a>(&self, body: &'a [u8], id: Uuid) -> Attempt<'a> {
        self.app.0.unconfirmed_creates.begin(self.key.id, body, id, &self.fate)
    }

    /// The ids of identities that earlier creates with the same key and body may have made: their outcome is unknown.
    pub(crate) fn unconfirmed_creates(&self, body: &[u8]) -> Vec<Uuid> {
        self.app.0.unconfirmed_creates.find(self.key.id, body)
    }

    /// Appends to the log, once the write fits the bulk budgets of the caller.
    async fn append(&self, aggregate_id: Uuid, append: Append) -> Result<Committed, ApiError> {
        let budgets = &self.app.0.limits.bulk;
        let weight = self.weight_of(&append);
        let taken = budgets.admit(&self.key, weight.size).await.map_err(ApiError::bulk_budget_used_up)?;
        let appended = self.app.0.parts.log.append(Append { is_bulk: taken.is_bulk(), ..append }).await;
        if let Some(size) = weight.after(&appended) {
            budgets.settle(&self.key, taken, size);
        }
        appended.map_err(|error| ApiError::of_append(aggregate_id, error))
    }

    /// What is known beforehand of what a write costs. Its events are about as long as its body, and a stored answer may show the
    /// identity that was found.
    fn weight_of(&self, append: &Append) -> Weight {
        let found = self.found_bytes.load(Ordering::Relaxed);
        let (deleted, refused) = match append.command {
            // Opening an identity to everybody deletes the rows of its viewers.
            Command::Identity(IdentityCommand::Delete | IdentityCommand::OpenVisibility { .. }) => (found, 0),
            Command::Identity(IdentityCommand::RevokeVisibility { .. }) => (0, REFUSED_REVOCATION_BYTES),
            _ => (0, 0),
        };
        let known = self.admission.body_bytes() + deleted;
        let size = if append.command.needs().whole_organization() {
            Size::Unknown
        } else if append.repeatable.is_some() {
            Size::WithAnswer(known + found)
        } else {
            Size::Known(known)
        };
        Weight { known, refused, size }
    }

    /// The input of `Log::append` for a write.
    fn to_append(&self, write: Write) -> Append {
        Append {
            organization_id: self.key.organization_id.clone(),
            aggregate_id: write.aggregate_id.to_string(),
            command: write.command,
            actor: self.actor(),
            secret_sha256: self.secret_sha256(),
            metadata: self.metadata(),
            expected_version: None,
            repeatable: None,
            shown_access: ShownAccess::None,
            ciphertexts: write.ciphertexts,
            companion: write.companion.map(|companion| Box::new(self.to_append(*companion))),
            is_bulk: false,
            fate: self.fate.clone(),
        }
    }

    /// The caller and the request, as history records them.
    fn metadata(&self) -> Metadata {
        let metadata = Metadata::new(&self.actor(), &self.request_id);
        match &self.idempotency {
            Some(Idempotency { key, .. }) => metadata.with_idempotency_key(key),
            None => metadata,
        }
    }

    /// The version that a write to an API key expects (`If-Match`). If there is no such key there is none, and the command
    /// is refused as not found.
    pub(crate) async fn expected_version_of_key(
        &self,
        headers: &HeaderMap,
        id: Uuid,
    ) -> Result<Option<i64>, ApiError> {
        if !headers.contains_key(header::IF_MATCH) {
            return Ok(None);
        }
        match read::version(self.pool().await, self.organization_id(), Kind::ApiKey, &id.to_string()).await? {
            None => Ok(None),
            Some((version, changed_at)) => {
                expected_version(headers, Revision { id, version, changed_at: Some(changed_at) })
            }
        }
    }
}
