//! RFC 6962 trees over leaf hashes: roots, proofs, and the checking of proofs.
//!
//! A tree of any size is made of complete subtrees, which never change once they are complete: node (level, place)
//! covers the 2^level leaves from place · 2^level on. Every root and every proof is computed from such [`Node`]s alone.

use std::cell::RefCell;
use std::collections::HashMap;

use tlog_tiles::tlog::{self, HashReader};

pub use tlog_tiles::tlog::Hash;

/// The largest tree: as many leaves as an event log can number.
const LARGEST: u64 = i64::MAX as u64;

/// A complete subtree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// Its height: 0 for a leaf.
    pub level: u8,
    /// How many of its level stand before it.
    pub place: u64,
}

/// Why there is no proof, or why one does not hold.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The question names leaves or sizes that no such tree has.
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

/// What can be asked of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Its root when it had so many leaves.
    Root {
        /// How many.
        size: u64,
    },
    /// A proof that a leaf is in it.
    Inclusion {
        /// Which leaf, from 0.
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
    /// Which complete subtrees the answer is computed from.
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

/// Learns which nodes are wanted, by answering with hashes of nothing.
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

/// Holds that the leaf with this index is in a tree of this size and root.
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

/// Holds that a tree of this size and root begins with the smaller one. An empty tree is the beginning of any.
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

/// The right edge of a growing tree: leaves come in, and its root is known at any time, in memory of log n.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frontier {
    size: u64,
    /// The complete subtrees that the tree is made of, the largest first.
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// The edge of a tree whose complete subtrees, the largest first, are known.
    pub fn resume(size: u64, subtrees: Vec<Hash>) -> Result<Self, ProofError> {
        let fits = size <= LARGEST && usize::try_from(size.count_ones()).is_ok_and(|n| n == subtrees.len());
        if fits { Ok(Self { size, subtrees }) } else { Err(ProofError::OutOfRange { size }) }
    }

    /// Which nodes a tree of this size is made of, the largest first.
    pub fn nodes(size: u64) -> Result<Vec<Node>, ProofError> {
        Question::Root { size }.nodes()
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The complete subtrees that the tree is made of, the largest first.
    pub fn subtrees(&self) -> &[Hash] {
        &self.subtrees
    }

    /// Appends a leaf: as many subtrees become one as the size has ones at its end.
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

    /// The root of what was appended so far.
    pub fn root(&self) -> Hash {
        let smallest_first = self.subtrees.iter().rev().copied();
        smallest_first.reduce(|right, left| inner(left, right)).unwrap_or(tlog::EMPTY_HASH)
    }
}

#[cfg(test)]
mod tests;
