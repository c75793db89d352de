//! Bodies of signing keys.

use serde::Serialize;
use utoipa::ToSchema;

use crate::document::IdentityDocument;

/// Whether there is a signing key.
#[derive(Debug, Serialize, ToSchema)]
pub struct SigningKeyStatus {
    /// Whether there is one.
    pub configured: bool,
    /// When it was created or last replaced.
    #[schema(required, format = DateTime)]
    pub created_at: Option<String>,
}

impl SigningKeyStatus {
    /// That of an identity.
    pub fn of(document: &IdentityDocument) -> Self {
        Self {
            configured: document.signing_key_configured,
            created_at: document.signing_key_created_at.clone(),
        }
    }

    /// There is one since that moment, or none.
    pub fn since(created_at: Option<String>) -> Self {
        Self { configured: created_at.is_some(), created_at }
    }
}

/// A new signing key.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedSigningKey {
    /// The key's text, shown this once; null when the request is repeated under its `Idempotency-Key`.
    #[schema(required, example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=")]
    pub signing_key: Option<String>,
    /// When it was created.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Why the text is not shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'static str>,
}
