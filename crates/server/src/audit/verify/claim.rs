//! A checkpoint that the events are held against: a claim about the first so many, until a root says the same.

use identity_proof::tree::check_consistency;
use identity_proof::{Checkpoint, Frontier, Hash};

use super::super::report::Fault;

/// A signed size and root, and whether the tree over the events was found to have that root at that size.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) checkpoint: Checkpoint,
    pub(super) is_held: bool,
}

/// The claim has another root than the first so many events.
pub(super) struct Contradiction(u64);

impl Claim {
    pub(super) fn new(checkpoint: Checkpoint) -> Self {
        Self { checkpoint, is_held: false }
    }

    pub(super) fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// Holds the claim against a tree that has grown as far.
    pub(super) fn hold(&mut self, tree: &Frontier) -> Result<(), Contradiction> {
        if tree.size() != self.size() {
            return Ok(());
        }
        self.agree(tree.root())
    }

    /// Holds it against another of the same size, which may lie beyond the events.
    pub(super) fn hold_other(&mut self, other: &Self) -> Result<(), Contradiction> {
        if other.size() != self.size() {
            return Ok(());
        }
        self.agree(other.checkpoint.root)
    }

    fn agree(&mut self, root: Hash) -> Result<(), Contradiction> {
        self.is_held = self.checkpoint.root == root;
        if self.is_held { Ok(()) } else { Err(Contradiction(self.size())) }
    }

    /// Holds it against a smaller tree, by a proof that it begins with that one.
    pub(super) fn hold_beyond(&mut self, tree: &Frontier, proof: &[Hash]) -> Result<(), Contradiction> {
        let whole = (self.size(), self.checkpoint.root);
        check_consistency(proof, (tree.size(), tree.root()), whole)
            .map_err(|_| Contradiction(tree.size()))?;
        self.is_held = true;
        Ok(())
    }
}

impl Contradiction {
    /// As the fault of a line.
    pub(super) fn fault(self, line: Option<u64>) -> Fault {
        let Self(size) = self;
        let what = format!("the first {size} events are not those that were signed");
        Fault { line, sequence: Some(size), what }
    }
}
