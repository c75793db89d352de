//! Identities as they are kept: compressed. Documents are very much alike, so what is left of one that is compared with
//! another is a sixth of it. docs/performance.md says what that costs.

use std::sync::OnceLock;

use identity_projections::identities::IdentityBody;
use lz4_flex::block::{compress_with_dict, decompress_with_dict};
use uuid::Uuid;

/// Packs identities, and unpacks those that it has packed itself. What they are compared with is the first of them: it
/// comes from the same installation as all others.
#[derive(Debug, Default)]
pub(super) struct Packer {
    first: OnceLock<Box<[u8]>>,
}

/// How much of the first is used, from its end: the names of its members, and not what somebody has to say at length.
const LARGEST_EXAMPLE: usize = 4096;

/// An identity, packed.
#[derive(Debug)]
pub(super) struct Packed {
    id: Uuid,
    version: i64,
    /// Document and access rows, one behind the other.
    texts: Box<[u8]>,
    document_bytes: usize,
    access_bytes: usize,
}

impl Packed {
    /// The bytes of its texts.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }
}

impl Packer {
    pub(super) fn pack(&self, found: &IdentityBody) -> Packed {
        let first = self.first.get_or_init(|| example(found.document.as_bytes()).into());
        let texts = [found.document.as_bytes(), found.access.as_bytes()].concat();
        Packed {
            id: found.id,
            version: found.version,
            texts: compress_with_dict(&texts, first).into_boxed_slice(),
            document_bytes: found.document.len(),
            access_bytes: found.access.len(),
        }
    }

    /// Nothing, if the memory has been damaged meanwhile: then the database is asked.
    pub(super) fn unpack(&self, packed: &Packed) -> Option<IdentityBody> {
        let bytes = packed.document_bytes + packed.access_bytes;
        let texts = decompress_with_dict(&packed.texts, bytes, self.first.get()?).ok()?;
        let mut document = String::from_utf8(texts).ok()?;
        let is_whole = document.len() == bytes && document.is_char_boundary(packed.document_bytes);
        let access = is_whole.then(|| document.split_off(packed.document_bytes))?;
        Some(IdentityBody { id: packed.id, version: packed.version, document, access })
    }
}

fn example(document: &[u8]) -> &[u8] {
    let from = document.len().saturating_sub(LARGEST_EXAMPLE);
    document.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use identity_projections::identities::IdentityBody;
    use uuid::Uuid;

    use super::Packer;

    fn found(number: u128, document: &str, access: &str) -> IdentityBody {
        let (document, access) = (document.to_owned(), access.to_owned());
        IdentityBody { id: Uuid::from_u128(number), version: 7, document, access }
    }

    #[test]
    fn what_was_packed_comes_out_as_it_was() {
        let packer = Packer::default();
        let alike =
            |name: &str| format!(r#"{{"agent_handle":"{name}","tunnel":{{"tunnel_name":"{name}"}}}}"#);
        let kept = [
            found(1, &alike("alpha"), ""),
            found(2, &alike("bravo"), r#"{"access":"☎"}"#),
            found(3, "", ""),
            found(4, "é", "☎"),
            found(5, &alike(&"long ".repeat(100_000)), &alike("charlie")),
        ];
        let all_of_them = kept.each_ref().map(|found| packer.pack(found));
        for (packed, found) in all_of_them.iter().zip(kept) {
            assert_eq!(packer.unpack(packed), Some(found));
        }
    }

    #[test]
    fn what_is_like_the_first_takes_a_fraction_of_its_room() {
        let packer = Packer::default();
        let members =
            ('a'..='z').map(|name| format!(r#""member {name}":null,"#)).collect::<Vec<_>>().concat();
        packer.pack(&found(1, &members, ""));
        assert!(packer.pack(&found(2, &members, "")).len() * 10 < members.len());
    }
}
