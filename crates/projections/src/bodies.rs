//! Bodies of answers that are made of rows when they are asked for. What is stored as it is answered is in
//! [`crate::document`].

mod directory;
mod signing_keys;
mod vault;
mod webhooks;

use std::collections::BTreeMap;

use identity_domain::phone::CallHandling;
use identity_log::recorded::timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api_keys::{self, KeyScope};
use crate::document::{Mailbox, Tunnel};
use crate::identities;

pub use directory::{Card, Directory, DirectoryEntry, DirectoryVisibility, ImessageNumber};
pub use signing_keys::{CreatedSigningKey, SigningKeyStatus};
pub use vault::{
    InitializedVault, UnlockedVault, Vault, VaultAccessRule, VaultKey, VaultSecret, VaultSecretDetail,
};
pub use webhooks::{
    CreatedWebhookSubscription, WebhookCatalog, WebhookEventType, WebhookSubscription, WebhookSubscriptions,
};

/// A mailbox in full. Mail itself is not stored here, so it takes no room and has no limit.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullMailbox {
    /// What is embedded, too.
    #[serde(flatten)]
    pub mailbox: Mailbox,
    /// In bytes.
    pub storage_used_bytes: u64,
    /// In bytes; no limit if null.
    #[schema(required)]
    pub storage_limit_bytes: Option<u64>,
}

impl From<identities::Row> for FullMailbox {
    fn from(owner: identities::Row) -> Self {
        Self { mailbox: owner.document.mailbox, storage_used_bytes: 0, storage_limit_bytes: None }
    }
}

/// What happens to incoming calls of an identity.
#[derive(Debug, Serialize, ToSchema)]
pub struct IncomingCalls {
    /// The identity.
    pub agent_identity_id: Uuid,
    /// What happens to its calls.
    #[serde(flatten)]
    pub calls: CallHandling,
}

/// A tunnel in full. What only a connected tunnel has is null: nothing connects to this control plane.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tunnel)]
pub struct FullTunnel {
    /// Its summary.
    #[serde(flatten)]
    pub summary: Tunnel,
    /// Its organization.
    pub organization_id: String,
    /// The certificate.
    #[schema(required, value_type = Option<String>)]
    pub cert_pem: Option<()>,
    /// Its fingerprint.
    #[schema(required, value_type = Option<String>)]
    pub cert_fingerprint_sha256: Option<()>,
    /// Until when it is valid.
    #[schema(required, value_type = Option<OffsetDateTime>)]
    pub cert_expires_at: Option<()>,
    /// When it last connected.
    #[schema(required, value_type = Option<OffsetDateTime>)]
    pub last_connected_at: Option<()>,
    /// From where.
    #[schema(required, value_type = Option<String>)]
    pub last_connected_ip_addr: Option<()>,
    /// When it last disconnected.
    #[schema(required, value_type = Option<OffsetDateTime>)]
    pub last_disconnected_at: Option<()>,
    /// Whether it is connected.
    pub currently_connected: bool,
    /// The owner's own object, as it was written.
    #[schema(value_type = Object)]
    pub metadata: Box<RawValue>,
}

impl FullTunnel {
    /// The tunnel of an identity.
    pub fn of(owner: identities::Row) -> Result<Self, serde_json::Error> {
        Ok(Self {
            summary: owner.document.tunnel,
            organization_id: owner.document.organization_id,
            cert_pem: None,
            cert_fingerprint_sha256: None,
            cert_expires_at: None,
            last_connected_at: None,
            last_connected_ip_addr: None,
            last_disconnected_at: None,
            currently_connected: false,
            metadata: RawValue::from_string(owner.tunnel_metadata)?,
        })
    }
}

// In an envelope, since published clients expect one (D14).
/// Tunnels, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct TunnelList {
    /// The tunnels.
    pub tunnels: Vec<FullTunnel>,
}

/// Everything about an API key but its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKey<'a> {
    /// Its id, with which the whole key begins.
    #[schema(example = "ApiKey_67e166e4-7b0c-4a57-9a57-0d7c4d3b1a11")]
    pub id: String,
    /// Its organization.
    pub organization_id: &'a str,
    /// The id of the key that made it, or `operator`.
    #[schema(example = "operator")]
    pub created_by: &'a str,
    /// Who made it.
    pub creator_type: CreatorType,
    /// What it may do.
    #[schema(value_type = KeyScope)]
    pub scope: &'static str,
    /// The identity it acts as, for an agent's key.
    #[schema(required)]
    pub scoped_identity_id: Option<Uuid>,
    /// What it is called.
    #[schema(example = "night watch")]
    pub label: &'a str,
    /// What it is for.
    #[schema(required)]
    pub description: Option<&'a str>,
    /// Whether it is valid.
    pub status: KeyStatus,
    /// The last four characters of its secret.
    #[schema(example = "x7Qz")]
    pub last4: &'a str,
    /// The beginning of its id.
    #[schema(example = "ApiKey_67e166e4")]
    pub display_prefix: String,
    /// When it was last used, true to the minute.
    #[schema(required, format = DateTime)]
    pub last_used_at: Option<String>,
    /// When it expires, if it does.
    #[schema(required, format = DateTime)]
    pub expires_at: Option<String>,
    /// Until when the secret that it had before its last rotation is valid.
    #[schema(required, format = DateTime)]
    pub previous_valid_until: Option<String>,
    /// When it was revoked.
    #[schema(required, format = DateTime)]
    pub revoked_at: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// Who made an API key: a person, or a key in a person's hands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreatorType {
    /// A person.
    Human,
}

/// Status of an API key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// Valid.
    Active,
    /// Revoked or expired, or its identity was deleted.
    Revoked,
}

impl<'a> ApiKey<'a> {
    /// A key that has expired, or whose identity was deleted, has the status `revoked`: published clients know no other status of a
    /// key that is not valid.
    pub fn of(
        row: &'a api_keys::Row,
        id: String,
        last_used_at: Option<OffsetDateTime>,
        is_ended: bool,
    ) -> Self {
        Self {
            display_prefix: id.chars().take("ApiKey_".len() + 8).collect(),
            id,
            organization_id: &row.organization_id,
            created_by: &row.created_by,
            creator_type: CreatorType::Human,
            scope: row.scope.as_str(),
            scoped_identity_id: row.identity_id,
            label: &row.label,
            description: row.description.as_deref(),
            status: if is_ended { KeyStatus::Revoked } else { KeyStatus::Active },
            last4: &row.last4,
            last_used_at: last_used_at.map(timestamp),
            expires_at: row.expires_at.map(timestamp),
            previous_valid_until: row.previous_valid_until.map(timestamp),
            revoked_at: row.revoked_at.map(timestamp),
            created_at: timestamp(row.created_at),
            updated_at: timestamp(row.updated_at()),
        }
    }
}

/// A new API key, or one with a new secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedApiKey<'a> {
    /// The whole key, id and secret, which is shown once; null if the request is repeated with its `Idempotency-Key`.
    #[schema(required)]
    pub api_key: Option<String>,
    /// Everything else about it.
    pub record: ApiKey<'a>,
    /// Why the key is not shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'static str>,
}

/// The caller's API key, and its organization.
#[derive(Debug, Serialize, ToSchema)]
pub struct Whoami<'a> {
    /// Always `api_key`.
    #[schema(example = "api_key")]
    pub auth_type: &'static str,
    /// `api_key.admin_scoped`, `api_key.agent_scoped.claimed` or `api_key.auditor_scoped`.
    #[schema(example = "api_key.admin_scoped")]
    pub auth_subtype: &'static str,
    /// The organization.
    pub organization_id: &'a str,
    /// The id of the key that made this one, or `operator`.
    #[schema(example = "operator")]
    pub created_by: &'a str,
    /// Who made it.
    pub creator_type: CreatorType,
    /// The key's id.
    #[schema(example = "ApiKey_67e166e4-7b0c-4a57-9a57-0d7c4d3b1a11")]
    pub key_id: String,
    /// What it is called.
    #[schema(example = "first")]
    pub label: &'a str,
    /// What it is for.
    #[schema(required)]
    pub description: Option<&'a str>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it was last used, true to the minute.
    #[schema(required, format = DateTime)]
    pub last_used_at: Option<String>,
    /// When it expires, if it does.
    #[schema(required, format = DateTime)]
    pub expires_at: Option<String>,
    // By this, published clients recognize the key of an identity.
    /// `agent_identity:` and the id of the identity it acts as, or `organization:` and the id of the organization.
    #[schema(example = "organization:org_local")]
    pub scope: String,
    /// The identity it acts as, for an agent's key.
    #[schema(required)]
    pub scoped_identity_id: Option<Uuid>,
}

// The text of an event is written by `identity_log::history::Entry::write_envelope`.
/// An event of the history.
#[derive(Debug, Serialize, ToSchema)]
pub struct Event {
    /// Organization.
    pub organization_id: String,
    /// Position in the organization's history: 1, 2, 3 …
    #[schema(minimum = 1)]
    pub organization_sequence: i64,
    /// Type of the aggregate.
    #[schema(example = "identity")]
    pub aggregate_type: String,
    /// Id of the aggregate.
    pub aggregate_id: String,
    /// Version of the aggregate after the event: 1, 2, 3 …
    #[schema(minimum = 1)]
    pub sequence: i64,
    /// Type of the event.
    #[schema(example = "identity.created")]
    pub event_type: String,
    /// Version of the payload's shape.
    #[schema(example = "1")]
    pub event_version: String,
    /// Time at which it was recorded.
    #[schema(format = DateTime)]
    pub recorded_at: String,
    /// Payload.
    pub payload: BTreeMap<String, serde_json::Value>,
    /// The actor, the request and the software that wrote the event.
    pub metadata: BTreeMap<String, String>,
}

/// A page of history.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// The cursor of the next page, for `after`.
    #[schema(required)]
    pub next: Option<String>,
}

/// An event as `CloudEvents` 1.0 in structured mode.
#[derive(Debug, Serialize, ToSchema)]
pub struct CloudEvent {
    /// Always `1.0`.
    #[schema(example = "1.0")]
    pub specversion: String,
    /// The `organization_sequence`.
    #[schema(example = "7")]
    pub id: String,
    /// `/organizations/` and the organization's id.
    pub source: String,
    /// Type of the event.
    #[schema(example = "identity.created")]
    pub r#type: String,
    /// Type and id of the aggregate.
    pub subject: String,
    /// Always `application/json`.
    #[schema(example = "application/json")]
    pub datacontenttype: String,
    /// Time at which the event was recorded.
    #[schema(format = DateTime)]
    pub time: String,
    /// The event.
    pub data: Event,
}
