//! A checkpoint that the events are compared with. It claims a root for the first `size` events, until a computed root
//! confirms it.

use identity_proof::tree::check_consistency;
use identity_proof::{Checkpoint, Frontier, Hash};

use crate::report::Fault;

/// A signed size and root, and whether the tree over the events has that root at that size.
#[derive(Debug)]
pub(super) struct RootClaim {
    pub(super) checkpoint: Checkpoint,
    pub(super) is_held: bool,
}

/// The root of the claim differs from that of the first events, whose number is given.
pub(super) struct Contradiction(u64);

impl RootClaim {
    pub(super) fn new(checkpoint: Checkpoint) -> Self {
        Self { checkpoint, is_held: false }
    }

    pub(super) fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// Compares the claim with a tree, if the tree has the size of the claim.
    pub(super) fn hold(&mut self, tree: &Frontier) -> Result<(), Contradiction> {
        if tree.size() != self.size() {
            return Ok(());
        }
        self.agree(tree.root())
    }

    /// Compares it with another claim, if that has the same size. Both may cover more events than there are.
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

    /// Compares it with a smaller tree, by a proof that the signed tree begins with the smaller one.
    pub(super) fn hold_beyond(&mut self, tree: &Frontier, proof: &[Hash]) -> Result<(), Contradiction> {
        let whole = (self.size(), self.checkpoint.root);
        check_consistency(proof, (tree.size(), tree.root()), whole)
            .map_err(|_| Contradiction(tree.size()))?;
        self.is_held = true;
        Ok(())
    }
}

impl Contradiction {
    /// The fault of this line.
    pub(super) fn fault(self, line: Option<u64>) -> Fault {
        let Self(size) = self;
        let what = format!("the first {size} events are not those that were signed");
        Fault { line, sequence: Some(size), what }
    }
}
