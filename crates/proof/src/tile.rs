//! The pieces in which a tree is stored: tiles of 256 hashes, as in C2SP tlog-tiles.
//!
//! Tile (level, place) has the nodes of tree level 8 · level from 256 · place on. The nodes of the seven levels above are
//! computed from them. So a tree takes hardly more space than its leaves, and a proof reads one tile for eight levels.

use crate::hash::Hash;
use crate::tree::{Node, inner};

/// The number of hashes in a full tile.
pub const WIDTH: u64 = 1 << HEIGHT;

/// How many levels of the tree a tile spans.
const HEIGHT: u8 = 8;

/// The place of a tile in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// 0 for tiles of leaves.
    pub level: u8,
    /// Its number within its level, from 0.
    pub place: u64,
}

impl TileId {
    /// The tile from which a node is computed.
    pub fn of(node: Node) -> Self {
        Self { level: node.level / HEIGHT, place: (node.place << (node.level % HEIGHT)) / WIDTH }
    }

    /// The tile that contains the root of this one.
    #[must_use]
    pub fn above(self) -> Self {
        Self { level: self.level + 1, place: self.place / WIDTH }
    }
}

/// The hash of a node, computed from the hashes of its tile; `None` if the tile has too few.
pub fn node(hashes: &[Hash], node: Node) -> Option<Hash> {
    let width = 1_usize << (node.level % HEIGHT);
    let first = (node.place << (node.level % HEIGHT)) % WIDTH;
    let first = usize::try_from(first).ok()?;
    hashes.get(first..first + width).and_then(root)
}

/// The root of a full tile, which belongs into the tile above; `None` if the tile is not full.
pub fn full_root(hashes: &[Hash]) -> Option<Hash> {
    (u64::try_from(hashes.len()) == Ok(WIDTH)).then(|| root(hashes)).flatten()
}

/// The root of hashes whose number is a power of two.
fn root(hashes: &[Hash]) -> Option<Hash> {
    match hashes {
        [] => None,
        [one] => Some(*one),
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            Some(inner(root(left)?, root(right)?))
        }
    }
}

/// Hashes one after the other, as they are stored.
pub fn to_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes in these bytes; `None` if they are not a multiple of 32 bytes.
pub fn from_bytes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, []) = bytes.as_chunks::<32>() else {
        return None;
    };
    Some(hashes.iter().copied().map(Hash).collect())
}
