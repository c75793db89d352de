//! RFC 6962 trees over leaf hashes: roots, proofs, and the checking of proofs.
//!
//! A tree of any size consists of complete subtrees, which never change: [`Node`] (level, place) covers the 2^level leaves
//! from place · 2^level on. Every root and every proof is computed from such nodes.

use std::cell::RefCell;
use std::collections::HashMap;

use tlog_tiles::tlog::{self, HashReader};

pub use tlog_tiles::tlog::Hash;

/// The largest size of a tree. Postgres stores the sequence of an event as a `bigint`.
const LARGEST: u64 = i64::MAX as u64;

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
        let wanted = Wanted(RefCell::default());
        self.answer_from(&wanted)?;
        Ok(wanted.0.into_inner())
    }

    /// The answer: one hash for a root, the hashes of RFC 6962 for a proof.
    pub fn answer(self, nodes: &HashMap<Node, Hash>) -> Result<Vec<Hash>, ProofError> {
        if let Some(missing) = self.nodes()?.into_iter().find(|node| !nodes.contains_key(node)) {
            return Err(ProofError::Missing(missing));
        }
        self.answer_from(&Given(nodes))
    }

    fn answer_from(self, reader: &impl HashReader) -> Result<Vec<Hash>, ProofError> {
        let (Self::Root { size } | Self::Inclusion { size, .. } | Self::Consistency { to: size, .. }) = self;
        let out_of_range = |_| ProofError::OutOfRange { size };
        if size > LARGEST {
            return Err(ProofError::OutOfRange { size });
        }
        match self {
            Self::Root { .. } => tlog::tree_hash(size, reader).map(|root| vec![root]),
            Self::Inclusion { index, .. } => tlog::prove_record(size, index, reader),
            Self::Consistency { from, .. } => tlog::prove_tree(size, from, reader),
        }
        .map_err(out_of_range)
    }
}

/// Notes the nodes that an answer reads. It answers with empty hashes, and that answer is not used.
struct Wanted(RefCell<Vec<Node>>);

impl HashReader for Wanted {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
        self.0.borrow_mut().extend(indexes.iter().map(|index| node_at(*index)));
        Ok(vec![Hash::default(); indexes.len()])
    }
}

struct Given<'a>(&'a HashMap<Node, Hash>);

impl HashReader for Given<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
        let hash = |index: &u64| self.0.get(&node_at(*index)).copied();
        indexes.iter().map(hash).collect::<Option<_>>().ok_or(tlog::Error::IndexesNotInTree)
    }
}

fn node_at(index: u64) -> Node {
    let (level, place) = tlog::split_stored_hash_index(index);
    Node { level, place }
}

/// Checks that the leaf with this index is in a tree of this size and root.
pub fn check_inclusion(
    proof: &[Hash],
    size: u64,
    root: Hash,
    index: u64,
    leaf: Hash,
) -> Result<(), ProofError> {
    if size > LARGEST || index >= size {
        return Err(ProofError::OutOfRange { size });
    }
    tlog::check_record(&proof.to_vec(), size, root, index, leaf).map_err(|_| ProofError::Wrong)
}

/// Checks that the tree `new`, given by size and root, begins with the tree `old`. Every tree begins with the empty one.
pub fn check_consistency(proof: &[Hash], old: (u64, Hash), new: (u64, Hash)) -> Result<(), ProofError> {
    let ((from, old_root), (to, root)) = (old, new);
    if to > LARGEST || from > to {
        return Err(ProofError::OutOfRange { size: to });
    }
    if from == 0 {
        let holds = old_root == tlog::EMPTY_HASH && proof.is_empty();
        return if holds { Ok(()) } else { Err(ProofError::Wrong) };
    }
    tlog::check_tree(&proof.to_vec(), to, root, from, old_root).map_err(|_| ProofError::Wrong)
}

/// The hash of an inner node.
pub fn inner(left: Hash, right: Hash) -> Hash {
    tlog::node_hash(left, right)
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
        let fits = size <= LARGEST && usize::try_from(size.count_ones()).is_ok_and(|n| n == subtrees.len());
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
        smallest_first.reduce(|right, left| inner(left, right)).unwrap_or(tlog::EMPTY_HASH)
    }
}

#[cfg(test)]
mod tests;
