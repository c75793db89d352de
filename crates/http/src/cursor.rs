//! Cursors: opaque text that names a place in one organization's history.
//!
//! 32 hexadecimal digits: the shard of the log (always 0 today), the `organization_sequence`, and a checksum that is
//! taken together with the organization's id. A cursor that was mangled, or that is another organization's, is known
//! as such and refused; a place out of thin air would silently skip events.

use sha2::{Digest as _, Sha256};

/// The only shard there is.
const SHARD: u16 = 0;

/// The cursor behind the event of this sequence.
pub fn encode(organization_id: &str, sequence: i64) -> String {
    let check = checksum(organization_id, sequence);
    let mut text = format!("{SHARD:04x}{sequence:016x}");
    text.extend(check.iter().map(|byte| format!("{byte:02x}")));
    text
}

/// The sequence that a cursor of this organization names.
pub fn decode(organization_id: &str, text: &str) -> Option<i64> {
    let sequence = i64::from_str_radix(text.get(4..20)?, 16).ok()?;
    (encode(organization_id, sequence) == text).then_some(sequence)
}

fn checksum(organization_id: &str, sequence: i64) -> [u8; 6] {
    let digest = Sha256::new_with_prefix(b"identityd cursor\0")
        .chain_update(SHARD.to_be_bytes())
        .chain_update(sequence.to_be_bytes())
        .chain_update(organization_id)
        .finalize();
    let mut check = [0; 6];
    check.iter_mut().zip(digest).for_each(|(place, byte)| *place = byte);
    check
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        for sequence in [0, 1, 255, i64::MAX] {
            assert_eq!(decode("org_a", &encode("org_a", sequence)), Some(sequence));
        }
    }

    #[test]
    fn a_mangled_or_foreign_cursor_leads_nowhere() {
        let cursor = encode("org_a", 77);
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
}
