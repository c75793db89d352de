//! Compares roots and proofs with two other implementations: one that has all leaves and follows the recursive definitions of
//! RFC 6962, and `tlog_tiles`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use tlog_tiles::tlog::{self, HashReader};

use super::{Frontier, Hash, MAX_LEAVES, Node, ProofError, Question, check_consistency, check_inclusion};
use crate::tile::{self, TileId};

fn sha(parts: &[&[u8]]) -> Hash {
    Hash(Sha256::digest(parts.concat()).into())
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|number| sha(&[&[0], &number.to_be_bytes()])).collect()
}

/// The definitions of RFC 6962, section 2.1, over leaf hashes. Roots are cached, since computing them again takes long.
struct Rfc<'a> {
    leaves: &'a [Hash],
    roots: RefCell<HashMap<Range<usize>, Hash>>,
}

impl<'a> Rfc<'a> {
    fn new(leaves: &'a [Hash]) -> Self {
        Self { leaves, roots: RefCell::default() }
    }

    /// MTH of RFC 6962, section 2.1.
    fn root(&self, d: Range<usize>) -> Hash {
        if let Some(root) = self.roots.borrow().get(&d) {
            return *root;
        }
        let root = match d.len() {
            0 => sha(&[]),
            1 => self.leaves[d.start],
            n => {
                let k = d.start + split(n);
                sha(&[&[1], &self.root(d.start..k).0, &self.root(k..d.end).0])
            }
        };
        self.roots.borrow_mut().insert(d, root);
        root
    }

    /// PATH of RFC 6962, section 2.1.1, for leaf `m` of `d`.
    fn path(&self, m: usize, d: Range<usize>) -> Vec<Hash> {
        if d.len() == 1 {
            return vec![];
        }
        let k = split(d.len());
        let (left, right) = (d.start..d.start + k, d.start + k..d.end);
        let (mut path, sibling) = if m < k {
            (self.path(m, left), self.root(right))
        } else {
            (self.path(m - k, right), self.root(left))
        };
        path.push(sibling);
        path
    }

    /// SUBPROOF of RFC 6962, section 2.1.2.
    fn subproof(&self, m: usize, d: Range<usize>, known: bool) -> Vec<Hash> {
        if m == d.len() {
            return if known { vec![] } else { vec![self.root(d)] };
        }
        let k = split(d.len());
        let (left, right) = (d.start..d.start + k, d.start + k..d.end);
        let (mut proof, sibling) = if m <= k {
            (self.subproof(m, left, known), self.root(right))
        } else {
            (self.subproof(m - k, right, false), self.root(left))
        };
        proof.push(sibling);
        proof
    }
}

/// The same trees for `tlog_tiles`.
impl HashReader for Rfc<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        let hash = |index: &u64| {
            let (level, place) = tlog::split_stored_hash_index(*index);
            let first = usize::try_from(place << level).unwrap();
            theirs(self.root(first..first + (1 << level)))
        };
        Ok(indexes.iter().map(hash).collect())
    }
}

fn theirs(hash: Hash) -> tlog::Hash {
    tlog::Hash(hash.0)
}

/// The proof with something wrong, or as it is.
fn changed(mut proof: Vec<Hash>, how: u8, place: usize) -> Vec<Hash> {
    let place = place % proof.len().max(1);
    match how {
        0 if !proof.is_empty() => proof[place].0[0] ^= 1,
        1 if !proof.is_empty() => drop(proof.remove(place)),
        2 if !proof.is_empty() => proof.swap(0, place),
        3 => proof.insert(place, sha(&[b"another"])),
        4 => proof.push(sha(&[b"another"])),
        _ => {}
    }
    proof
}

/// The largest power of two smaller than `n`.
fn split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

fn root(leaves: &[Hash]) -> Hash {
    Rfc::new(leaves).root(0..leaves.len())
}

/// The tiles of a tree, filled leaf by leaf.
fn stored(leaves: &[Hash]) -> HashMap<TileId, Vec<Hash>> {
    let mut tiles: HashMap<TileId, Vec<Hash>> = HashMap::new();
    for (index, leaf) in (0..).zip(leaves) {
        let mut id = TileId::of(Node { level: 0, place: index });
        let mut hash = *leaf;
        loop {
            let tile = tiles.entry(id).or_default();
            tile.push(hash);
            let Some(root) = tile::full_root(tile) else { break };
            hash = root;
            id = id.above();
        }
    }
    tiles
}

fn ask(tiles: &HashMap<TileId, Vec<Hash>>, question: Question) -> Vec<Hash> {
    let nodes = question.nodes().unwrap();
    let nodes = nodes.into_iter().map(|node| (node, tile::node(&tiles[&TileId::of(node)], node).unwrap()));
    question.answer(&nodes.collect()).unwrap()
}

/// Compares the root and the proofs of the tree of the first `size` leaves with those of the RFC.
fn agree(rfc: &Rfc<'_>, tiles: &HashMap<TileId, Vec<Hash>>, size: usize, indexes: Range<usize>) {
    let (to, expected) = (size as u64, rfc.root(0..size));
    assert_eq!(ask(tiles, Question::Root { size: to }), [expected], "root of {size}");
    for index in indexes {
        let (place, from) = (index as u64, index as u64 + 1);
        let proof = ask(tiles, Question::Inclusion { index: place, size: to });
        assert_eq!(proof, rfc.path(index, 0..size), "leaf {index} of {size}");
        check_inclusion(&proof, to, expected, place, rfc.leaves[index]).unwrap();
        let proof = ask(tiles, Question::Consistency { from, to });
        assert_eq!(proof, rfc.subproof(index + 1, 0..size, true), "{from} of {size}");
        check_consistency(&proof, (from, rfc.root(0..index + 1)), (to, expected)).unwrap();
    }
}

#[test]
fn every_proof_of_every_tree_of_up_to_300_leaves_is_that_of_the_rfc() {
    let all = leaves(300);
    let (rfc, tiles) = (Rfc::new(&all), stored(&all));
    for size in 0..=300 {
        agree(&rfc, &tiles, size, 0..size);
    }
}

#[test]
fn the_root_is_known_after_every_leaf() {
    let all = leaves(300);
    let mut frontier = Frontier::default();
    for size in 0..300 {
        assert_eq!((frontier.size(), frontier.root()), (size as u64, root(&all[..size])));
        let resumed = Frontier::resume(frontier.size(), frontier.subtrees().to_vec()).unwrap();
        assert_eq!(resumed, frontier);
        assert_eq!(Frontier::nodes(frontier.size()).unwrap().len(), frontier.subtrees().len());
        frontier.append(all[size]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn proofs_of_larger_trees_are_those_of_the_rfc(size in 301_usize..70_000, seed in any::<u64>()) {
        let all = leaves(size as u64);
        let index = usize::try_from(seed % size as u64).unwrap();
        agree(&Rfc::new(&all), &stored(&all), size, index..index + 1);
    }

    #[test]
    fn a_proof_with_anything_changed_does_not_hold(size in 2_u64..600, index in 0_u64..600, place in 0_usize..20) {
        let index = index % size;
        let all = leaves(size);
        let root = root(&all);
        let leaf = all[usize::try_from(index).unwrap()];
        let mut proof = ask(&stored(&all), Question::Inclusion { index, size });
        let place = place % proof.len();
        proof[place].0[0] ^= 1;
        prop_assert!(check_inclusion(&proof, size, root, index, leaf).is_err());
        proof[place].0[0] ^= 1;
        prop_assert!(check_inclusion(&proof, size, root, (index + 1) % size, leaf).is_err());
        prop_assert!(check_inclusion(&proof[1..], size, root, index, leaf).is_err());
        prop_assert!(check_inclusion(&proof, size, root, index, sha(&[b"another"])).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn tlog_tiles_makes_the_same_proofs_and_judges_every_proof_in_the_same_way(
        size in 1_u64..400, index in any::<u64>(), from in any::<u64>(), how in 0_u8..6, place in 0_usize..10,
    ) {
        let all = leaves(size);
        let (rfc, tiles) = (Rfc::new(&all), stored(&all));
        let (index, from) = (index % size, from % size + 1);
        let inclusion = ask(&tiles, Question::Inclusion { index, size });
        let consistency = ask(&tiles, Question::Consistency { from, to: size });
        let as_theirs = |proof: &[Hash]| proof.iter().copied().map(theirs).collect::<Vec<_>>();
        prop_assert_eq!(as_theirs(&inclusion), tlog::prove_record(size, index, &rfc).unwrap());
        prop_assert_eq!(as_theirs(&consistency), tlog::prove_tree(size, from, &rfc).unwrap());
        let (root, old_root) = (root(&all), root(&all[..usize::try_from(from).unwrap()]));
        let leaf = all[usize::try_from(index).unwrap()];
        for proof in [inclusion, consistency].map(|proof| changed(proof, how, place)) {
            let their_proof = as_theirs(&proof);
            for size in [size, size + 1, size * 2] {
                let ours = check_inclusion(&proof, size, root, index, leaf).is_ok();
                let judged = tlog::check_record(&their_proof, size, theirs(root), index, theirs(leaf));
                prop_assert_eq!(ours, judged.is_ok());
                let ours = check_consistency(&proof, (from, old_root), (size, root)).is_ok();
                let judged = tlog::check_tree(&their_proof, size, theirs(root), from, theirs(old_root));
                prop_assert_eq!(ours, judged.is_ok());
            }
        }
    }
}

#[test]
fn a_tree_that_was_rewritten_is_not_consistent() {
    let (mut all, old) = (leaves(100), leaves(60));
    all[17] = sha(&[b"rewritten"]);
    let proof = ask(&stored(&all), Question::Consistency { from: 60, to: 100 });
    assert!(check_consistency(&proof, (60, root(&old)), (100, root(&all))).is_err());
}

#[test]
fn the_empty_tree_is_the_beginning_of_any() {
    let nothing = (0, root(&[]));
    check_consistency(&[], nothing, (5, root(&leaves(5)))).unwrap();
    assert!(check_consistency(&[], (0, root(&leaves(1))), (5, root(&leaves(5)))).is_err());
}

#[test]
fn what_no_tree_has_is_an_error() {
    for question in [
        Question::Inclusion { index: 5, size: 5 },
        Question::Inclusion { index: 0, size: 0 },
        Question::Consistency { from: 0, to: 5 },
        Question::Consistency { from: 6, to: 5 },
        Question::Root { size: u64::MAX },
    ] {
        assert!(matches!(question.nodes(), Err(ProofError::OutOfRange { .. })), "{question:?}");
    }
    let missing = Question::Root { size: 5 }.answer(&HashMap::new());
    assert!(matches!(missing, Err(ProofError::Missing(Node { level: 2, place: 0 }))));
    assert!(Frontier::resume(3, leaves(1)).is_err());
    assert!(check_inclusion(&[], u64::MAX, root(&[]), 0, root(&[])).is_err());
}

#[test]
fn a_leaf_beyond_the_tree_and_a_tree_that_shrinks_are_out_of_range() {
    let all = leaves(5);
    let proof = ask(&stored(&all), Question::Inclusion { index: 4, size: 5 });
    for (index, size) in [(5, 5), (u64::MAX, 5), (0, 0)] {
        let checked = check_inclusion(&proof, size, root(&all), index, all[4]);
        assert!(matches!(checked, Err(ProofError::OutOfRange { .. })), "{index} of {size}");
    }
    let long = vec![Hash::default(); 70];
    let shrunk = check_consistency(&long, (6, root(&all)), (5, root(&all)));
    assert!(matches!(shrunk, Err(ProofError::OutOfRange { size: 5 })));
}

#[test]
fn proofs_of_the_largest_tree_are_refused_or_wrong() {
    let (size, nothing) = (MAX_LEAVES, root(&[]));
    for index in [0, 1 << 62, size - 2] {
        Question::Inclusion { index, size }.nodes().unwrap();
        Question::Consistency { from: index + 1, to: size }.nodes().unwrap();
        for length in 0..70 {
            let proof = vec![Hash::default(); length];
            assert!(check_inclusion(&proof, size, nothing, index, nothing).is_err());
            assert!(check_consistency(&proof, (index + 1, nothing), (size, nothing)).is_err());
        }
    }
}
