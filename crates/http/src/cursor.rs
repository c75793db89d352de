//! Cursors: opaque text that stands for a place in an organization's history or in one of its lists.
//!
//! A cursor of history has 44 hexadecimal digits: the shard of the log (always 0 today), the `organization_sequence`,
//! the first bytes of the leaf hash of that event, and a checksum over these and the organization's id. The checksum is
//! for mistakes: a cursor that was mangled, or is another organization's, would silently skip events. The leaf hash
//! shows whether the history is another one by now: a backup was restored, or a failover has lost events.
//!
//! A cursor of a list is authenticated by `Seal`, with a key of the installation, together with the organization and
//! the filters of the list.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use identity_log::ReadError;
use identity_log::history::{self, Entry, LeafStart};
use identity_projections::identities::listing::ListPlace;
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, PgExecutor};
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use uuid::Uuid;

/// A moment in eight bytes, and an id.
const PLACE_LENGTH: usize = 24;
const CODE_LENGTH: usize = 16;

/// The only shard.
const SHARD: u16 = 0;

/// A place in an organization's history: after an event. The default is the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct HistoryPlace {
    /// The organization sequence of the event.
    pub sequence: i64,
    /// The first bytes of its leaf hash.
    pub leaf_start: LeafStart,
}

impl HistoryPlace {
    /// The place after an event.
    pub(crate) fn behind(entry: &Entry<'_>) -> Self {
        Self { sequence: entry.organization_sequence, leaf_start: entry.leaf_start }
    }

    /// Whether the history has this event, or the place is the beginning.
    pub(crate) async fn is_in(
        self,
        executor: impl PgExecutor<'_>,
        organization_id: &str,
    ) -> Result<bool, ReadError> {
        if self == Self::default() {
            return Ok(true);
        }
        let found = history::leaf_start_of(executor, organization_id, self.sequence).await?;
        Ok(found == Some(self.leaf_start))
    }

    /// The place after the event `sequence` of the history that has this place. This place if there is no such event, as in a
    /// damaged log; `None` if the history is another one by now.
    pub(crate) async fn advanced(
        self,
        connection: &mut PgConnection,
        organization_id: &str,
        sequence: i64,
    ) -> Result<Option<Self>, ReadError> {
        let leaf_start = if self == Self::default() {
            history::leaf_start_of(&mut *connection, organization_id, sequence).await?
        } else {
            let known = (self.sequence, self.leaf_start);
            history::leaf_start_if_continued(&mut *connection, organization_id, known, sequence).await?
        };
        match leaf_start {
            Some(leaf_start) => Ok(Some(Self { sequence, leaf_start })),
            None => Ok(self.is_in(connection, organization_id).await?.then_some(self)),
        }
    }
}

/// The cursor of a place in an organization's history.
pub fn encode(organization_id: &str, place: HistoryPlace) -> String {
    let HistoryPlace { sequence, leaf_start } = place;
    let check = checksum(organization_id, place);
    let mut text = format!("{SHARD:04x}{sequence:016x}");
    text.extend(leaf_start.iter().chain(&check).map(|byte| format!("{byte:02x}")));
    text
}

/// The place in a cursor of this organization; `None` if the cursor is malformed or another organization's.
pub fn decode(organization_id: &str, text: &str) -> Option<HistoryPlace> {
    let sequence = i64::from_str_radix(text.get(4..20)?, 16).ok()?;
    let mut leaf_start = LeafStart::default();
    for (byte, place) in leaf_start.iter_mut().zip((20..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(place..place + 2)?, 16).ok()?;
    }
    let place = HistoryPlace { sequence, leaf_start };
    (encode(organization_id, place) == text).then_some(place)
}

fn checksum(organization_id: &str, HistoryPlace { sequence, leaf_start }: HistoryPlace) -> [u8; 6] {
    let digest = Sha256::new_with_prefix(b"identityd cursor\0")
        .chain_update(SHARD.to_be_bytes())
        .chain_update(sequence.to_be_bytes())
        .chain_update(leaf_start)
        .chain_update(organization_id)
        .finalize();
    let mut check = [0; 6];
    check.iter_mut().zip(digest).for_each(|(place, byte)| *place = byte);
    check
}

/// Makes and opens cursors of lists: HMAC-SHA-256 with a key of the installation.
#[derive(Clone)]
pub(crate) struct Seal(Hmac<Sha256>);

impl std::fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Seal").finish_non_exhaustive()
    }
}

impl Seal {
    /// A seal with this key.
    pub(crate) fn new(key: Hmac<Sha256>) -> Self {
        Self(key)
    }

    /// The cursor after a place in the list that `list` describes: the creation in microseconds, the id, and the first
    /// 16 bytes of the authentication code, in base64.
    pub(crate) fn close(&self, list: &[&str], place: ListPlace) -> String {
        let mut bytes = microseconds(place.created_at).to_be_bytes().to_vec();
        bytes.extend(place.id.as_bytes());
        let code = self.code(list, &bytes);
        bytes.extend(code);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The place in a cursor of exactly this list.
    pub(crate) fn open(&self, list: &[&str], cursor: &str) -> Option<ListPlace> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (place, code) = bytes.split_at_checked(PLACE_LENGTH)?;
        if !bool::from(self.code(list, place).as_slice().ct_eq(code)) {
            return None;
        }
        let (created_at, id) = place.split_at_checked(8)?;
        let nanoseconds = i128::from(i64::from_be_bytes(created_at.try_into().ok()?)) * 1000;
        let created_at = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
        Some(ListPlace { created_at, id: Uuid::from_slice(id).ok()? })
    }

    fn code(&self, list: &[&str], place: &[u8]) -> Vec<u8> {
        let mut code = self.0.clone();
        for part in list {
            // The length comes first, so that two lists with different parts never give the same bytes.
            code.update(&part.len().to_be_bytes());
            code.update(part.as_bytes());
        }
        code.update(place);
        code.finalize().into_bytes().into_iter().take(CODE_LENGTH).collect()
    }
}

fn microseconds(moment: OffsetDateTime) -> i64 {
    i64::try_from(moment.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, Mac as _};
    use identity_projections::identities::listing::ListPlace;
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::{HistoryPlace, Seal, decode, encode};

    fn place(sequence: i64) -> HistoryPlace {
        HistoryPlace { sequence, leaf_start: [7; 6] }
    }

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        for sequence in [0, 1, 255, i64::MAX] {
            assert_eq!(decode("org_a", &encode("org_a", place(sequence))), Some(place(sequence)));
        }
    }

    #[test]
    fn a_mangled_or_foreign_cursor_leads_nowhere() {
        let cursor = encode("org_a", place(77));
        assert_eq!(decode("org_b", &cursor), None);
        for place in 0..cursor.len() {
            let mut mangled = cursor.clone().into_bytes();
            mangled[place] = if mangled[place] == b'0' { b'1' } else { b'0' };
            assert_eq!(decode("org_a", &String::from_utf8(mangled).unwrap()), None, "digit {place}");
        }
        for text in
            ["", "77", &cursor[1..], &format!("{cursor}0"), &cursor.to_uppercase(), "ééééééééééééééééé"]
        {
            assert_eq!(decode("org_a", text), None, "{text:?}");
        }
    }

    #[test]
    fn a_sealed_cursor_opens_only_what_it_was_made_for() {
        let seal = Seal::new(Hmac::new_from_slice(b"key").unwrap());
        let created_at = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_123_456_000).unwrap();
        let place = ListPlace { created_at, id: Uuid::from_u128(7) };
        let cursor = seal.close(&["org_a", "active"], place);
        assert_eq!(seal.open(&["org_a", "active"], &cursor), Some(place));
        for other in [&["org_b", "active"][..], &["org_a"], &["org_aa", "ctive"], &["org_a", "active", ""]] {
            assert_eq!(seal.open(other, &cursor), None, "{other:?}");
        }
        let stranger = Seal::new(Hmac::new_from_slice(b"other key").unwrap());
        assert_eq!(stranger.open(&["org_a", "active"], &cursor), None);
        for place in 0..cursor.len() {
            let mut mangled = cursor.clone().into_bytes();
            mangled[place] = if mangled[place] == b'A' { b'B' } else { b'A' };
            let mangled = String::from_utf8(mangled).unwrap();
            assert_eq!(seal.open(&["org_a", "active"], &mangled), None, "{mangled}");
        }
        assert_eq!(seal.open(&["org_a", "active"], ""), None);
    }
}
