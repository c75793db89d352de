//! The only place that mints ids.

use sha2::{Digest as _, Sha256};
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

/// The id of the vault of an organization. It follows from the organization, so an organization cannot have two vaults.
pub fn of_vault(organization_id: &str) -> Uuid {
    let digest = Sha256::new_with_prefix(b"identityd vault\0").chain_update(organization_id).finalize();
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest).for_each(|(place, byte)| *place = byte);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// A new UUID version 4, for ids of keys. People tell keys apart by their first digits; those of version 7 are the same
/// for all keys of an hour. Contract, section 0.1.
#[expect(clippy::disallowed_methods, reason = "ids are minted here and nowhere else")]
pub fn mint_random() -> Uuid {
    Uuid::new_v4()
}
