//! The time that a checkpoint says: when it was signed.

use std::time::{SystemTime, UNIX_EPOCH};

use super::signed::Signed;
use super::signer::Signer;

impl Signer {
    /// The time of a checkpoint that is signed now, after the last one: never before the time of that one. In seconds since
    /// the beginning of 1970.
    ///
    /// A last checkpoint whose time this key has not signed counts for nothing: whoever can write to the database can add a line.
    pub(super) fn time_after(&self, last: Option<&Signed>) -> u64 {
        let before = last.and_then(|last| self.key.cosigner_key().find(&last.note).ok().flatten());
        now().max(before.map_or(0, |before| before.time))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever can write to the database must not choose the time that is signed, so it is not the database's"
)]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
