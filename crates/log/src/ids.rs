//! The one place that mints ids.

use uuid::Uuid;

/// A new UUID version 7: unique, and ascending with time, so that indexes grow at one end.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn mint() -> Uuid {
    Uuid::now_v7()
}

/// A new id of an organization. Contract, section 1.1: opaque text.
pub fn mint_organization() -> String {
    format!("org_{}", mint().simple())
}

/// A new UUID version 4, for ids of keys: people tell keys apart by their first digits, which must not be those of
/// the present hour. Contract, section 0.1.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn mint_random() -> Uuid {
    Uuid::new_v4()
}
