//! Values of which the events of an identity consist.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::phone::{CallHandling, UsState};

/// The mailbox of a new identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// Its id.
    pub id: Uuid,
    /// The full address. Its local part is the first handle of the identity.
    pub email_address: String,
}

/// The tunnel of a new identity. Its name is the handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// Its id.
    pub id: Uuid,
    /// Who terminates TLS. Never changes.
    pub tls_mode: TlsMode,
    /// The DNS zone of its public host.
    pub zone: String,
}

/// An access row that names one viewer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The id of the row.
    pub access_id: Uuid,
    /// The viewer.
    pub viewer_identity_id: Uuid,
}

/// A phone number as it was assigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phone {
    /// Its id.
    pub id: Uuid,
    /// The number in E.164.
    pub number: String,
    /// The US state of the number.
    pub state: UsState,
    /// What happens to incoming calls.
    pub calls: CallHandling,
}

/// A channel. Each has a filter mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// iMessage.
    Imessage,
    /// Mail.
    Mail,
    /// Phone.
    Phone,
}

/// Whether contact rules list who may contact the identity, or who may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterMode {
    /// Only the listed contacts may.
    Whitelist,
    /// All contacts may, except the listed ones.
    #[default]
    Blacklist,
}

/// The status of an identity (D1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = IdentityStatus)]
pub enum Status {
    /// It takes part.
    #[default]
    Active,
    /// It keeps its data, sees no other identity, and no other agent sees it.
    Paused,
}

/// Who terminates the TLS of a tunnel. Contract, section 1.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    /// The edge of the platform.
    #[default]
    Edge,
    /// The agent itself, with a certificate of its own.
    Passthrough,
}

/// The signature of a mailbox. Published clients know it since 0.7.1.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Signature {
    /// The signature in HTML, as it was written.
    #[serde(default)]
    #[schema(required)]
    pub signature_html: Option<String>,
    /// The signature as plain text.
    #[serde(default)]
    #[schema(required)]
    pub signature_text: Option<String>,
    /// Whether mail that goes out is to have it.
    #[serde(default)]
    #[schema(required)]
    pub signature_enabled: bool,
}
