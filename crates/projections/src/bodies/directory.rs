//! Bodies of the directory of identities, and of iMessage numbers.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::document::IdentityDocument;

/// A page of the directory.
#[derive(Debug, Serialize, ToSchema)]
pub struct Directory {
    /// The identities that the key may see.
    pub items: Vec<DirectoryEntry>,
    /// Where the next page begins, for `cursor`; null on the last page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// An identity of the directory.
#[derive(Debug, Serialize, ToSchema)]
pub struct DirectoryEntry {
    /// The path of its card on this service, for a key that may see it.
    #[schema(example = "/api/v1/identities/harbor-desk/a2a/card")]
    pub card_url: String,
    /// Its card.
    pub card: Card,
    /// Always `organization`: nothing is public.
    pub visibility: DirectoryVisibility,
}

/// Who may find an entry.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DirectoryVisibility {
    /// Keys of the organization that may see the identity.
    Organization,
}

/// The card of an identity.
#[derive(Debug, Serialize, ToSchema)]
pub struct Card {
    /// Its display name, or its handle if it has none.
    #[schema(example = "Harbor Desk")]
    pub name: String,
    /// Its description.
    #[schema(required)]
    pub description: Option<String>,
    /// The id of the identity.
    pub identity_id: Uuid,
    /// Its handle, without `@`.
    #[schema(example = "harbor-desk")]
    pub agent_handle: String,
    /// Its mail address.
    #[schema(example = "harbor-desk@agents.localhost")]
    pub email_address: String,
}

impl DirectoryEntry {
    /// The entry with this card.
    pub fn of(card: Card) -> Self {
        let card_url = format!("/api/v1/identities/{}/a2a/card", card.agent_handle);
        Self { card_url, card, visibility: DirectoryVisibility::Organization }
    }
}

impl Card {
    /// The card of an identity.
    pub fn of(document: IdentityDocument) -> Self {
        let IdentityDocument { id, agent_handle, display_name, description, email_address, .. } = document;
        let name = display_name.unwrap_or_else(|| agent_handle.clone());
        Self { name, description, identity_id: id, agent_handle, email_address }
    }
}

/// A dedicated iMessage number. There are none yet.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImessageNumber {
    /// Its id.
    pub id: Uuid,
    /// E.164.
    #[schema(example = "+12125550100")]
    pub number: String,
}
