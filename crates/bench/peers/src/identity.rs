//! The event that every peer appends: the creation of an identity, like
//! `crates/domain/events/identity.created.v1.json` in size and kind.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An identity was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Created {
    #[serde(rename = "type")]
    event_type: String,
    /// The identity, which is also the stream.
    pub(crate) id: Uuid,
    agent_handle: String,
    display_name: String,
    description: String,
    imessage_enabled: bool,
    mailbox: Mailbox,
    tunnel: Tunnel,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct Mailbox {
    id: Uuid,
    email_address: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct Tunnel {
    id: Uuid,
    tls_mode: String,
    zone: String,
}

impl Created {
    /// A new identity.
    pub(crate) fn new() -> Self {
        let id = mint();
        let handle = format!("desk-{:012x}", id.as_u128() & 0xffff_ffff_ffff);
        Self {
            event_type: "identity.created".to_owned(),
            id,
            display_name: "Harbor Desk".to_owned(),
            description: "Answers what the harbor is asked.".to_owned(),
            imessage_enabled: false,
            mailbox: Mailbox { id: mint(), email_address: format!("{handle}@agents.localhost") },
            tunnel: Tunnel {
                id: mint(),
                tls_mode: "passthrough".to_owned(),
                zone: "tunnels.localhost".to_owned(),
            },
            agent_handle: handle,
        }
    }
}

/// The metadata, for peers that store it: 150 bytes of JSON.
pub(crate) const ACTOR: &str = "api-key:0198c3a2-5b7e-7d13";

/// An id that ascends with time, like those of the service.
#[expect(clippy::disallowed_methods, reason = "no id of this program ever reaches the service")]
pub(crate) fn mint() -> Uuid {
    Uuid::now_v7()
}
