//! The shapes of bodies, for the document alone: requests are read field by field, and answers are stored text. Every
//! answer that a test of the service gets is held against these shapes, and `schemathesis` sends what they allow.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// Whether messages of unknown senders get through.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum FilterMode {
    /// Only who is allowed.
    Whitelist,
    /// All but who is blocked.
    Blacklist,
}

/// Whether an identity takes part.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum IdentityStatus {
    /// It does.
    Active,
    /// It keeps what it has, and neither sees others nor is seen by them.
    Paused,
}

/// What happens to incoming calls.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum IncomingCallAction {
    /// They are accepted over `client_websocket_url`.
    AutoAccept,
    /// They are rejected.
    AutoReject,
    /// `incoming_call_webhook_url` is asked.
    Webhook,
    /// A hosted agent takes them.
    HostedAgent,
}

/// Who terminates the tunnel's TLS.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum TlsMode {
    /// The edge.
    Edge,
    /// The agent.
    Passthrough,
}

/// Whether a tunnel can be used.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum TunnelStatus {
    /// It waits for the agent's certificate.
    AwaitingCert,
    /// It can.
    Active,
}

/// An identity. Clients ignore members that they do not know.
#[derive(Debug, ToSchema)]
pub struct Identity {
    /// Its id.
    pub id: Uuid,
    /// Its organization.
    pub organization_id: String,
    /// Its handle, without `@`.
    #[schema(example = "harbor-desk")]
    pub agent_handle: String,
    /// Its display name; null after an explicit clear.
    #[schema(required)]
    pub display_name: Option<String>,
    /// Its description.
    #[schema(required)]
    pub description: Option<String>,
    /// Its mail address. It stays when the identity is renamed.
    #[schema(example = "harbor-desk@agents.localhost")]
    pub email_address: String,
    /// Whether it is reachable over iMessage.
    pub imessage_enabled: bool,
    /// Filter mode of iMessage.
    pub imessage_filter_mode: FilterMode,
    /// Filter mode of mail, the same as the mailbox's.
    pub mail_filter_mode: FilterMode,
    /// Filter mode of the phone, the same as the number's.
    pub phone_filter_mode: FilterMode,
    /// Whether it has a signing key.
    pub signing_key_configured: bool,
    /// When the signing key was made.
    #[schema(required)]
    pub signing_key_created_at: Option<OffsetDateTime>,
    /// Active or paused.
    pub status: IdentityStatus,
    /// When it was created; lists are in this order, newest first.
    pub created_at: OffsetDateTime,
    /// When a field of its own last changed.
    pub updated_at: OffsetDateTime,
    /// Its mailbox.
    pub mailbox: Mailbox,
    /// Its phone number.
    #[schema(required)]
    pub phone_number: Option<PhoneNumber>,
    /// Its dedicated iMessage number; none is ever attached yet.
    #[schema(required, value_type = Option<Object>)]
    pub imessage_number: Option<()>,
    /// Its tunnel.
    pub tunnel: TunnelSummary,
    /// Who may see it; empty for an agent's key.
    pub access: Vec<AccessRow>,
}

/// A mailbox as it is embedded.
#[derive(Debug, ToSchema)]
pub struct Mailbox {
    /// Its id.
    pub id: Uuid,
    /// The full address.
    pub email_address: String,
    /// The bare domain.
    pub sending_domain: String,
    /// Filter mode.
    pub filter_mode: FilterMode,
    /// Whose it is.
    pub agent_identity_id: Uuid,
    /// Only in the answer to the change itself.
    #[schema(required)]
    pub filter_mode_change_notice: Option<FilterModeChangeNotice>,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
}

/// A mailbox in full.
#[derive(Debug, ToSchema)]
pub struct FullMailbox {
    /// Its id.
    pub id: Uuid,
    /// The full address.
    pub email_address: String,
    /// The bare domain.
    pub sending_domain: String,
    /// Filter mode.
    pub filter_mode: FilterMode,
    /// Whose it is.
    pub agent_identity_id: Uuid,
    /// Only in the answer to the change itself.
    #[schema(required)]
    pub filter_mode_change_notice: Option<FilterModeChangeNotice>,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
    /// In bytes.
    #[schema(minimum = 0)]
    pub storage_used_bytes: i64,
    /// In bytes; no limit if null.
    #[schema(required)]
    pub storage_limit_bytes: Option<i64>,
}

/// What follows from a changed filter mode.
#[derive(Debug, ToSchema)]
pub struct FilterModeChangeNotice {
    /// The mode it has now.
    pub new_filter_mode: FilterMode,
    /// Which rules the flip would have made redundant.
    pub redundant_rule_action: RuleAction,
    /// How many of them there are.
    #[schema(minimum = 0)]
    pub redundant_rule_count: i64,
}

/// What a contact rule does.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum RuleAction {
    /// Lets through.
    Allow,
    /// Keeps out.
    Block,
}

/// A phone number.
#[derive(Debug, ToSchema)]
pub struct PhoneNumber {
    /// Its id.
    pub id: Uuid,
    /// E.164.
    #[schema(example = "+12125550100")]
    pub number: String,
    /// Always `local`.
    pub r#type: NumberType,
    /// Always `active`: a released number is nobody's.
    pub status: NumberStatus,
    /// Whether text messages work.
    pub sms_status: SmsStatus,
    /// Why they do not.
    #[schema(required)]
    pub sms_error_code: Option<String>,
    /// The same in words.
    #[schema(required)]
    pub sms_error_detail: Option<String>,
    /// Since when they work.
    #[schema(required)]
    pub sms_ready_at: Option<OffsetDateTime>,
    /// What happens to incoming calls.
    pub incoming_call_action: IncomingCallAction,
    /// For accepted calls.
    #[schema(required)]
    pub client_websocket_url: Option<String>,
    /// To be asked about calls.
    #[schema(required)]
    pub incoming_call_webhook_url: Option<String>,
    /// Filter mode.
    pub filter_mode: FilterMode,
    /// The US state it belongs to.
    #[schema(required)]
    pub state: Option<String>,
    /// Whose it is.
    pub agent_identity_id: Uuid,
    /// Only in the answer to the change itself.
    #[schema(required)]
    pub filter_mode_change_notice: Option<FilterModeChangeNotice>,
    /// When it was provisioned.
    pub created_at: OffsetDateTime,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
}

/// The kind of a phone number.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum NumberType {
    /// With an area code.
    Local,
}

/// Whether a phone number works.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum NumberStatus {
    /// It does.
    Active,
}

/// Whether text messages work.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum SmsStatus {
    /// Not yet.
    Pending,
    /// They do.
    Ready,
    /// They do not.
    AssignmentFailed,
}

/// A tunnel's summary.
#[derive(Debug, ToSchema)]
pub struct TunnelSummary {
    /// Its id.
    pub id: Uuid,
    /// The handle.
    pub tunnel_name: String,
    /// Whose it is.
    pub agent_identity_id: Uuid,
    /// Who terminates TLS.
    pub tls_mode: TlsMode,
    /// Whether it can be used.
    pub status: TunnelStatus,
    /// The handle in the zone.
    #[schema(example = "harbor-desk.tunnels.localhost")]
    pub public_host: String,
    /// The zone.
    pub zone: String,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
}

/// A tunnel in full. What only a connected tunnel has is null: nothing connects to this control plane.
#[derive(Debug, ToSchema)]
pub struct Tunnel {
    /// Its id.
    pub id: Uuid,
    /// The handle.
    pub tunnel_name: String,
    /// Whose it is.
    pub agent_identity_id: Uuid,
    /// Who terminates TLS.
    pub tls_mode: TlsMode,
    /// Whether it can be used.
    pub status: TunnelStatus,
    /// The handle in the zone.
    pub public_host: String,
    /// The zone.
    pub zone: String,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
    /// Its organization.
    pub organization_id: String,
    /// The certificate.
    #[schema(required)]
    pub cert_pem: Option<String>,
    /// Its fingerprint.
    #[schema(required)]
    pub cert_fingerprint_sha256: Option<String>,
    /// Until when it is valid.
    #[schema(required)]
    pub cert_expires_at: Option<OffsetDateTime>,
    /// When it last connected.
    #[schema(required)]
    pub last_connected_at: Option<OffsetDateTime>,
    /// From where.
    #[schema(required)]
    pub last_connected_ip_addr: Option<String>,
    /// When it last disconnected.
    #[schema(required)]
    pub last_disconnected_at: Option<OffsetDateTime>,
    /// Whether it is connected.
    pub currently_connected: bool,
    /// The owner's own object, as it was written.
    pub metadata: BTreeMap<String, serde_json::Value>,
}

/// Tunnels, newest first.
#[derive(Debug, ToSchema)]
pub struct TunnelList {
    /// The tunnels.
    pub tunnels: Vec<Tunnel>,
}

/// Who may see an identity.
#[derive(Debug, ToSchema)]
pub struct AccessRow {
    /// The row's id.
    pub id: Uuid,
    /// Who may be seen.
    pub target_identity_id: Uuid,
    /// Who may see; every active identity of the organization if null.
    #[schema(required)]
    pub viewer_identity_id: Option<Uuid>,
    /// Since when.
    pub created_at: OffsetDateTime,
}

/// What an API key may do.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum KeyScope {
    /// Everything in its organization.
    Admin,
    /// To act as one identity.
    Agent,
    /// To read history.
    Auditor,
}

/// Whether an API key still opens anything.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum KeyStatus {
    /// It does.
    Active,
    /// It was revoked, or its identity is gone.
    Revoked,
}

/// Who made an API key.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum CreatorType {
    /// A person, or a key in a person's hands.
    Human,
    /// An agent.
    Agent,
}

/// Everything about an API key but its secret.
#[derive(Debug, ToSchema)]
pub struct ApiKey {
    /// Its id, which is the beginning of its text.
    #[schema(example = "ApiKey_67e166e4-7b0c-4a57-9a57-0d7c4d3b1a11")]
    pub id: String,
    /// Its organization.
    pub organization_id: String,
    /// The id of the key that made it, or `operator`.
    pub created_by: String,
    /// Who made it.
    pub creator_type: CreatorType,
    /// What it may do.
    pub scope: KeyScope,
    /// The identity it acts as, for an agent's key.
    #[schema(required)]
    pub scoped_identity_id: Option<Uuid>,
    /// What it is called.
    pub label: String,
    /// What it is for.
    #[schema(required)]
    pub description: Option<String>,
    /// Whether it still opens anything.
    pub status: KeyStatus,
    /// The last four characters of its text.
    pub last4: String,
    /// The beginning of its text.
    pub display_prefix: String,
    /// Not tracked: always null.
    #[schema(required)]
    pub last_used_at: Option<OffsetDateTime>,
    /// Keys do not expire: always null.
    #[schema(required)]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was revoked.
    #[schema(required)]
    pub revoked_at: Option<OffsetDateTime>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
}

/// A new API key.
#[derive(Debug, ToSchema)]
pub struct CreatedApiKey {
    /// The key's text, shown this once; null when the request is repeated under its `Idempotency-Key`.
    #[schema(required)]
    pub api_key: Option<String>,
    /// Everything else about it.
    pub record: ApiKey,
    /// Why the text is not shown again.
    pub message: Option<String>,
}

/// Who asks.
#[derive(Debug, ToSchema)]
pub struct Whoami {
    /// Always `api_key`.
    pub auth_type: String,
    /// `api_key.admin_scoped`, `api_key.agent_scoped.claimed` or `api_key.auditor_scoped`.
    pub auth_subtype: String,
    /// The organization.
    pub organization_id: String,
    /// The id of the key that made this one, or `operator`.
    pub created_by: String,
    /// Who made it.
    pub creator_type: CreatorType,
    /// The key's id.
    pub key_id: String,
    /// What it is called.
    pub label: String,
    /// What it is for.
    #[schema(required)]
    pub description: Option<String>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// Not tracked: always null.
    #[schema(required)]
    pub last_used_at: Option<OffsetDateTime>,
    /// Keys do not expire: always null.
    #[schema(required)]
    pub expires_at: Option<OffsetDateTime>,
    /// Always null.
    #[schema(required)]
    pub scope: Option<String>,
    /// The identity it acts as, for an agent's key.
    #[schema(required)]
    pub scoped_identity_id: Option<Uuid>,
}

/// What kind of credential a vault secret holds.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum SecretType {
    /// A single token.
    ApiKey,
    /// An access key and its secret.
    KeyPair,
    /// A user name and a password.
    Login,
    /// An SSH key.
    SshKey,
    /// Anything else.
    Other,
}

/// A reference to a vault secret; the secret itself lives elsewhere.
#[derive(Debug, ToSchema)]
pub struct VaultSecret {
    /// Its id.
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    /// What it holds.
    pub secret_type: SecretType,
    /// What it is for.
    #[schema(required)]
    pub description: Option<String>,
    /// Who may use it.
    pub access: Vec<VaultAccessRule>,
    /// When it was registered.
    pub created_at: OffsetDateTime,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
}

/// Who may use a vault secret.
#[derive(Debug, ToSchema)]
pub struct VaultAccessRule {
    /// The rule's id.
    pub id: Uuid,
    /// The secret.
    pub vault_secret_id: Uuid,
    /// Who may use it.
    pub identity_id: Uuid,
    /// Since when.
    pub created_at: OffsetDateTime,
}

/// Something that happened.
#[derive(Debug, ToSchema)]
pub struct Event {
    /// Whose history it belongs to.
    pub organization_id: String,
    /// Its place there: 1, 2, 3 …
    #[schema(minimum = 1)]
    pub organization_sequence: i64,
    /// The type of what it happened to.
    #[schema(example = "identity")]
    pub aggregate_type: String,
    /// What it happened to.
    pub aggregate_id: String,
    /// Its place there: 1, 2, 3 …
    #[schema(minimum = 1)]
    pub sequence: i64,
    /// What happened.
    #[schema(example = "identity.created")]
    pub event_type: String,
    /// The version of its shape.
    #[schema(example = "1")]
    pub event_version: String,
    /// When.
    pub recorded_at: OffsetDateTime,
    /// What exactly.
    pub payload: BTreeMap<String, serde_json::Value>,
    /// Who did it, in which request, with which software.
    pub metadata: BTreeMap<String, String>,
}

/// A page of history.
#[derive(Debug, ToSchema)]
pub struct EventPage {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// The cursor of the next page, for `after`.
    #[schema(required)]
    pub next: Option<String>,
}

/// An event as `CloudEvents` 1.0 in structured mode.
#[derive(Debug, ToSchema)]
pub struct CloudEvent {
    /// Always `1.0`.
    pub specversion: String,
    /// The `organization_sequence`.
    pub id: String,
    /// `/organizations/` and the organization's id.
    pub source: String,
    /// What happened.
    pub r#type: String,
    /// What it happened to: type and id.
    pub subject: String,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// When.
    pub time: OffsetDateTime,
    /// The event.
    pub data: Event,
}

/// That an event is among the first `size` of its organization (RFC 6962, section 2.1.1).
#[derive(Debug, ToSchema)]
pub struct InclusionProof {
    /// The event's place.
    pub organization_sequence: i64,
    /// The same, counted from 0.
    pub leaf_index: i64,
    /// SHA-256 in base64.
    pub leaf_hash: String,
    /// How many events the tree has.
    pub size: i64,
    /// SHA-256 in base64.
    pub root_hash: String,
    /// SHA-256 in base64, from leaf to root.
    pub hashes: Vec<String>,
}

/// That the first `to` events begin with the first `from` (RFC 6962, section 2.1.2).
#[derive(Debug, ToSchema)]
pub struct ConsistencyProof {
    /// The size of the older tree.
    pub from: i64,
    /// The size of the newer tree.
    pub to: i64,
    /// SHA-256 in base64.
    pub hashes: Vec<String>,
}

/// That all is well.
#[derive(Debug, ToSchema)]
pub struct Health {
    /// In one word.
    #[schema(example = "ok")]
    pub status: String,
}
