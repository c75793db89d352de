//! The only place that mints ids.

use uuid::Uuid;

/// A new UUID version 7. It ascends with time, so an index grows at one end.
#[expect(clippy::disallowed_methods, reason = "ids are minted here and nowhere else")]
pub fn mint() -> Uuid {
    Uuid::now_v7()
}

/// A new id of an organization. Clients treat it as opaque text (Contract, section 1.1).
pub fn mint_organization() -> String {
    format!("org_{}", mint().simple())
}

/// A new UUID version 4, for ids of keys. People tell keys apart by their first digits; those of version 7 are the same
/// for all keys of an hour. Contract, section 0.1.
#[expect(clippy::disallowed_methods, reason = "ids are minted here and nowhere else")]
pub fn mint_random() -> Uuid {
    Uuid::new_v4()
}
