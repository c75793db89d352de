//! In what pieces a tree is kept: tiles of 256 hashes, as C2SP tlog-tiles cuts them.
//!
//! Tile (level, place) holds the nodes of tree level 8 · level from 256 · place on. The nodes in between follow from
//! them, so a tree takes hardly more room than its leaves, and a proof reads one tile for eight of its levels.

use crate::tree::{Hash, Node, inner};

/// How many hashes a full tile holds.
pub const WIDTH: u64 = 1 << HEIGHT;

/// How many levels of the tree a tile spans.
const HEIGHT: u8 = 8;

/// Which tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// 0 for tiles of leaves.
    pub level: u8,
    /// How many of its level stand before it.
    pub place: u64,
}

impl TileId {
    /// The tile from which a node follows.
    pub fn of(node: Node) -> Self {
        Self { level: node.level / HEIGHT, place: (node.place << (node.level % HEIGHT)) / WIDTH }
    }

    /// The tile in which the root of this one is a hash.
    #[must_use]
    pub fn above(self) -> Self {
        Self { level: self.level + 1, place: self.place / WIDTH }
    }
}

/// The hash of a node from the hashes of its tile; none if the tile does not reach so far.
pub fn node(hashes: &[Hash], node: Node) -> Option<Hash> {
    let width = 1_usize << (node.level % HEIGHT);
    let first = (node.place << (node.level % HEIGHT)) % WIDTH;
    let first = usize::try_from(first).ok()?;
    hashes.get(first..first + width).and_then(root)
}

/// The root of a full tile, which is a hash in the tile above.
pub fn full_root(hashes: &[Hash]) -> Option<Hash> {
    (u64::try_from(hashes.len()) == Ok(WIDTH)).then(|| root(hashes)).flatten()
}

/// The root over a power of two of hashes.
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

/// The same back; none if it is no whole number of hashes.
pub fn from_bytes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, []) = bytes.as_chunks::<32>() else {
        return None;
    };
    Some(hashes.iter().copied().map(Hash).collect())
}
