//! Compression of cached identities. Documents of identities resemble each other, so with one of them as the dictionary
//! another one shrinks to a sixth of its size. docs/performance.md has the cost in time.

use std::sync::OnceLock;

use identity_projections::identities::IdentityBody;
use lz4_flex::block::{compress_with_dict, decompress_with_dict};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::found::Found;
use crate::revision::Digest;

/// Compresses identities, and decompresses them. The dictionary is the first identity that it compressed.
#[derive(Debug, Default)]
pub(super) struct Packer {
    first: OnceLock<Box<[u8]>>,
}

/// The maximum size of the dictionary, in bytes. It is the end of the first document, which has most of the names of
/// members. The beginning may be a long description, which no other document shares.
const MAX_DICTIONARY_BYTES: usize = 4096;

/// A compressed identity.
#[derive(Debug)]
pub(super) struct Packed {
    id: Uuid,
    version: i64,
    changed_at: Option<OffsetDateTime>,
    digest: Digest,
    /// Document and access rows, concatenated and compressed.
    texts: Box<[u8]>,
    document_bytes: usize,
    access_bytes: usize,
}

impl Packed {
    /// The compressed size in bytes.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The size of the texts in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.document_bytes + self.access_bytes
    }
}

impl Packer {
    pub(super) fn pack(&self, found: &Found) -> Packed {
        let first = self.first.get_or_init(|| dictionary(found.document.as_bytes()).into());
        let texts = [found.document.as_bytes(), found.access.as_bytes()].concat();
        Packed {
            id: found.id,
            version: found.version,
            changed_at: found.changed_at,
            digest: found.digest(),
            texts: compress_with_dict(&texts, first).into_boxed_slice(),
            document_bytes: found.document.len(),
            access_bytes: found.access.len(),
        }
    }

    /// Decompresses an identity. `None` if the bytes are damaged; then the identity is read from the database.
    pub(super) fn unpack(&self, packed: &Packed) -> Option<Found> {
        let bytes = packed.bytes();
        let texts = decompress_with_dict(&packed.texts, bytes, self.first.get()?).ok()?;
        let mut document = String::from_utf8(texts).ok()?;
        let is_whole = document.len() == bytes && document.is_char_boundary(packed.document_bytes);
        let access = is_whole.then(|| document.split_off(packed.document_bytes))?;
        let Packed { id, version, changed_at, digest, .. } = *packed;
        Some(Found::with_digest(IdentityBody { id, version, changed_at, document, access }, digest))
    }
}

fn dictionary(document: &[u8]) -> &[u8] {
    let from = document.len().saturating_sub(MAX_DICTIONARY_BYTES);
    document.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use identity_projections::identities::IdentityBody;
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::Packer;
    use crate::found::Found;

    fn found(number: u128, document: &str, access: &str) -> Found {
        let (document, access) = (document.to_owned(), access.to_owned());
        let changed_at = Some(OffsetDateTime::UNIX_EPOCH);
        Found::of(IdentityBody { id: Uuid::from_u128(number), version: 7, changed_at, document, access })
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
