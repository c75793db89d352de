//! RFC 6962 trees over leaf hashes: roots, proofs, and the checking of proofs.
//!
//! A tree of any size consists of complete subtrees, which never change: [`Node`] (level, place) covers the 2^level leaves
//! from place · 2^level on. Every root and every proof is computed from such nodes.

use std::collections::HashMap;
use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::hash::Hash;

/// How many leaves a tree can have. Postgres stores the sequence of an event as a `bigint`.
pub const MAX_LEAVES: u64 = i64::MAX as u64;

/// What is hashed for an inner node begins with this byte. What is hashed for a leaf begins with 0.
const INNER_PREFIX: [u8; 1] = [0x01];

/// A complete subtree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// Its height: 0 for a leaf.
    pub level: u8,
    /// Its number within its level, from 0.
    pub place: u64,
}

/// Why there is no proof, or why one is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The question names a leaf or a size that such a tree does not have.
    #[error("a tree of {size} leaves has no such proof")]
    OutOfRange {
        /// The size of the tree in question.
        size: u64,
    },
    /// A complete subtree that the answer needs is missing.
    #[error("node {} of level {} is missing", .0.place, .0.level)]
    Missing(Node),
    /// The proof leads to another root.
    #[error("the proof does not hold")]
    Wrong,
}

/// A question about a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Its root when it had this size.
    Root {
        /// The number of leaves.
        size: u64,
    },
    /// A proof that a leaf is in it.
    Inclusion {
        /// The index of the leaf, from 0.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// A proof that a smaller tree is its beginning.
    Consistency {
        /// The size of the smaller tree, at least 1.
        from: u64,
        /// The size of the larger tree.
        to: u64,
    },
}

impl Question {
    /// The complete subtrees from which the answer is computed.
    pub fn nodes(self) -> Result<Vec<Node>, ProofError> {
        let mut wanted = vec![];
        // The answer is computed from empty hashes, and is not used.
        self.answer_from(&mut |node| {
            wanted.push(node);
            Ok(Hash::default())
        })?;
        Ok(wanted)
    }

    /// The answer: one hash for a root, the hashes of RFC 6962 for a proof.
    pub fn answer(self, nodes: &HashMap<Node, Hash>) -> Result<Vec<Hash>, ProofError> {
        self.answer_from(&mut |node| nodes.get(&node).copied().ok_or(ProofError::Missing(node)))
    }

    fn answer_from(self, read: &mut ReadNode<'_>) -> Result<Vec<Hash>, ProofError> {
        match self {
            Self::Root { size } if size <= MAX_LEAVES => Ok(vec![root(0..size, read)?]),
            Self::Inclusion { index, size } if index < size && size <= MAX_LEAVES => {
                path(index, 0..size, read)
            }
            Self::Consistency { from, to } if (1..=to).contains(&from) && to <= MAX_LEAVES => {
                subproof(from, 0..to, read)
            }
            Self::Root { size } | Self::Inclusion { size, .. } | Self::Consistency { to: size, .. } => {
                Err(ProofError::OutOfRange { size })
            }
        }
    }
}

/// Reads the hash of a complete subtree.
type ReadNode<'a> = dyn FnMut(Node) -> Result<Hash, ProofError> + 'a;

/// The two parts into which RFC 6962 divides two or more leaves. The left part is the largest complete subtree that is
/// smaller than the whole.
fn halves(leaves: &Range<u64>) -> (Range<u64>, Range<u64>) {
    let middle = leaves.start + (1 << (leaves.end - leaves.start - 1).ilog2());
    (leaves.start..middle, middle..leaves.end)
}

/// MTH of RFC 6962, section 2.1. The leaves are the whole tree, or a part into which [`halves`] divides it.
fn root(leaves: Range<u64>, read: &mut ReadNode<'_>) -> Result<Hash, ProofError> {
    let size = leaves.end - leaves.start;
    if size == 0 {
        return Ok(empty_root());
    }
    if size.is_power_of_two() {
        let level = u8::try_from(size.ilog2()).map_err(|_| ProofError::OutOfRange { size })?;
        return read(Node { level, place: leaves.start >> level });
    }
    let (left, right) = halves(&leaves);
    let left = root(left, read)?;
    Ok(inner(left, root(right, read)?))
}

/// PATH of RFC 6962, section 2.1.1.
fn path(index: u64, leaves: Range<u64>, read: &mut ReadNode<'_>) -> Result<Vec<Hash>, ProofError> {
    if leaves.end - leaves.start == 1 {
        return Ok(vec![]);
    }
    let (left, right) = halves(&leaves);
    let (with_leaf, other) = if index < left.end { (left, right) } else { (right, left) };
    let mut path = path(index, with_leaf, read)?;
    path.push(root(other, read)?);
    Ok(path)
}

/// SUBPROOF of RFC 6962, section 2.1.2. A verifier knows the root of the smaller tree, so it is not in the proof.
fn subproof(from: u64, leaves: Range<u64>, read: &mut ReadNode<'_>) -> Result<Vec<Hash>, ProofError> {
    if from == leaves.end {
        return if leaves.start == 0 { Ok(vec![]) } else { Ok(vec![root(leaves, read)?]) };
    }
    let (left, right) = halves(&leaves);
    let (with_end, other) = if from <= left.end { (left, right) } else { (right, left) };
    let mut proof = subproof(from, with_end, read)?;
    proof.push(root(other, read)?);
    Ok(proof)
}

/// Checks that the leaf with this index is in a tree of this size and root.
pub fn check_inclusion(
    proof: &[Hash],
    size: u64,
    root: Hash,
    index: u64,
    leaf: Hash,
) -> Result<(), ProofError> {
    if size > MAX_LEAVES || index >= size {
        return Err(ProofError::OutOfRange { size });
    }
    let holds = root_by_path(proof, index, 0..size, leaf) == Some(root);
    if holds { Ok(()) } else { Err(ProofError::Wrong) }
}

/// Checks that the tree `new`, given by size and root, begins with the tree `old`. Every tree begins with the empty one.
pub fn check_consistency(proof: &[Hash], old: (u64, Hash), new: (u64, Hash)) -> Result<(), ProofError> {
    let ((from, old_root), (to, root)) = (old, new);
    if to > MAX_LEAVES || from > to {
        return Err(ProofError::OutOfRange { size: to });
    }
    let holds = if from == 0 {
        old_root == empty_root() && proof.is_empty()
    } else {
        roots_by_subproof(proof, from, 0..to, old_root) == Some((old_root, root))
    };
    if holds { Ok(()) } else { Err(ProofError::Wrong) }
}

/// The root over these leaves, if the leaf and its path are true. `None` if the path is too long or too short.
fn root_by_path(path: &[Hash], index: u64, leaves: Range<u64>, leaf: Hash) -> Option<Hash> {
    if leaves.end - leaves.start == 1 {
        return path.is_empty().then_some(leaf);
    }
    let (sibling, path) = path.split_last()?;
    let (left, right) = halves(&leaves);
    if index < left.end {
        Some(inner(root_by_path(path, index, left, leaf)?, *sibling))
    } else {
        Some(inner(*sibling, root_by_path(path, index, right, leaf)?))
    }
}

/// The root over the first `from` leaves and the root over all of them, if the proof is true. `old_root` is what the
/// verifier knows. `None` if the proof is too long or too short.
fn roots_by_subproof(proof: &[Hash], from: u64, leaves: Range<u64>, old_root: Hash) -> Option<(Hash, Hash)> {
    if from == leaves.end {
        return match proof {
            [] if leaves.start == 0 => Some((old_root, old_root)),
            [root] if leaves.start > 0 => Some((*root, *root)),
            _ => None,
        };
    }
    let (sibling, proof) = proof.split_last()?;
    let (left, right) = halves(&leaves);
    if from <= left.end {
        let (old, new) = roots_by_subproof(proof, from, left, old_root)?;
        Some((old, inner(new, *sibling)))
    } else {
        let (old, new) = roots_by_subproof(proof, from, right, old_root)?;
        Some((inner(*sibling, old), inner(*sibling, new)))
    }
}

/// The hash of an inner node.
pub fn inner(left: Hash, right: Hash) -> Hash {
    let hasher = Sha256::new_with_prefix(INNER_PREFIX).chain_update(left.0).chain_update(right.0);
    Hash(hasher.finalize().into())
}

/// The root of a tree without leaves: the hash of nothing.
fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

/// The right edge of a growing tree. It computes the root after every leaf, in memory of log n.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frontier {
    size: u64,
    /// The complete subtrees of which the tree consists, the largest first.
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// The right edge of a tree of this size with these complete subtrees, the largest first.
    pub fn resume(size: u64, subtrees: Vec<Hash>) -> Result<Self, ProofError> {
        let fits =
            size <= MAX_LEAVES && usize::try_from(size.count_ones()).is_ok_and(|n| n == subtrees.len());
        if fits { Ok(Self { size, subtrees }) } else { Err(ProofError::OutOfRange { size }) }
    }

    /// The nodes of which a tree of this size consists, the largest first.
    pub fn nodes(size: u64) -> Result<Vec<Node>, ProofError> {
        Question::Root { size }.nodes()
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The complete subtrees of which the tree consists, the largest first.
    pub fn subtrees(&self) -> &[Hash] {
        &self.subtrees
    }

    /// Appends a leaf. It is merged with one subtree for each 1 at the end of the size in binary.
    pub fn append(&mut self, leaf: Hash) {
        let mut grown = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                grown = inner(left, grown);
            }
        }
        self.subtrees.push(grown);
        self.size += 1;
    }

    /// The root of the present tree.
    pub fn root(&self) -> Hash {
        let smallest_first = self.subtrees.iter().rev().copied();
        smallest_first.reduce(|right, left| inner(left, right)).unwrap_or_else(empty_root)
    }
}

#[cfg(test)]
mod tests;
