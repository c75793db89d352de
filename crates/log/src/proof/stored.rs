//! The signed tree and the last checkpoint, as the database has them.

use std::collections::{BTreeSet, HashMap, HashSet};

use identity_proof::tile::WIDTH;
use identity_proof::tree::{Node, Question, check_consistency, check_inclusion};
use identity_proof::{Checkpoint, Hash, NoteError, ProofError};
use sqlx::{PgConnection, PgExecutor};

use super::error::TreeError;
use super::signed::Signed;
use super::tiles::{self, bigint};

/// The last checkpoint of an organization, as the database has it.
pub async fn last(executor: impl PgExecutor<'_>, organization_id: &str) -> Result<Option<Signed>, TreeError> {
    let row: Option<(i64, i64, String)> = sqlx::query_as(
        "select epoch, size, note from checkpoints where organization_id = $1 order by epoch desc, size desc limit 1",
    )
    .bind(organization_id)
    .fetch_optional(executor)
    .await?;
    Ok(row.map(of_row).transpose()?)
}

/// Reads a note. Fails if its row is of another checkpoint.
pub(super) fn of_row((epoch, size, note): (i64, i64, String)) -> Result<Signed, NoteError> {
    let signed = Signed::read(note)?;
    let is_of_row = (bigint(signed.epoch), bigint(signed.checkpoint.size)) == (epoch, size);
    is_of_row.then_some(signed).ok_or(NoteError::Malformed)
}

/// The last epoch of which the database has a checkpoint. No note is read.
pub async fn last_epoch(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
) -> Result<Option<u64>, sqlx::Error> {
    let epoch: Option<i64> =
        sqlx::query_scalar("select max(epoch) from checkpoints where organization_id = $1")
            .bind(organization_id)
            .fetch_one(executor)
            .await?;
    Ok(epoch.and_then(|epoch| u64::try_from(epoch).ok()))
}

/// Answers a question from the stored tree of an epoch.
pub(super) async fn answer(
    connection: &mut PgConnection,
    organization_id: &str,
    epoch: u64,
    question: Question,
) -> Result<Vec<Hash>, TreeError> {
    let nodes = tiles::nodes(connection, organization_id, epoch, &question.nodes()?).await?;
    Ok(question.answer(&nodes)?)
}

/// A proof that a leaf is in a tree.
#[derive(Debug)]
pub struct Inclusion {
    /// The hash of the leaf.
    pub leaf: Hash,
    /// The root of the tree.
    pub root: Hash,
    /// The proof of RFC 6962.
    pub hashes: Vec<Hash>,
}

/// Proves that the leaf with this index is in the tree of this size. Fails if the tiles do not lead to the signed root.
pub async fn prove_inclusion(
    connection: &mut PgConnection,
    organization_id: &str,
    signed: &Signed,
    index: u64,
    size: u64,
) -> Result<Inclusion, TreeError> {
    let root = root(connection, organization_id, signed, size).await?;
    let leaf = leaf(connection, organization_id, signed.epoch, index).await?;
    let question = Question::Inclusion { index, size };
    let hashes = answer(connection, organization_id, signed.epoch, question).await?;
    check_inclusion(&hashes, size, root, index, leaf)?;
    Ok(Inclusion { leaf, root, hashes })
}

/// Proves that the tree of size `to` begins with that of size `from`. Fails if the tiles do not lead to the signed root.
pub async fn prove_consistency(
    connection: &mut PgConnection,
    organization_id: &str,
    signed: &Signed,
    from: u64,
    to: u64,
) -> Result<Vec<Hash>, TreeError> {
    let old = root(connection, organization_id, signed, from).await?;
    let new = root(connection, organization_id, signed, to).await?;
    let question = Question::Consistency { from, to };
    let hashes = answer(connection, organization_id, signed.epoch, question).await?;
    check_consistency(&hashes, (from, old), (to, new))?;
    Ok(hashes)
}

/// The root of the tree of this size, from which the signed tree was proved to have grown.
async fn root(
    connection: &mut PgConnection,
    organization_id: &str,
    signed: &Signed,
    size: u64,
) -> Result<Hash, TreeError> {
    let Signed { epoch, checkpoint, .. } = signed;
    let roots = answer(connection, organization_id, *epoch, Question::Root { size }).await?;
    let root = roots.first().copied().ok_or(ProofError::OutOfRange { size })?;
    let question = Question::Consistency { from: size, to: checkpoint.size };
    let growth = answer(connection, organization_id, *epoch, question).await?;
    check_consistency(&growth, (size, root), (checkpoint.size, checkpoint.root))?;
    Ok(root)
}

/// The hash of a complete subtree of the stored tree.
pub(super) async fn node(
    connection: &mut PgConnection,
    organization_id: &str,
    epoch: u64,
    node: Node,
) -> Result<Hash, TreeError> {
    let nodes = tiles::nodes(connection, organization_id, epoch, &[node]).await?;
    nodes.get(&node).copied().ok_or_else(|| ProofError::Missing(node).into())
}

/// The signed leaf with this index.
pub(super) async fn leaf(
    connection: &mut PgConnection,
    organization_id: &str,
    epoch: u64,
    index: u64,
) -> Result<Hash, TreeError> {
    node(connection, organization_id, epoch, Node { level: 0, place: index }).await
}

/// The signed leaves with these indexes. Left out are those that are not signed yet, and those of tiles that do not lead to the signed
/// root: whoever can write to the database can change a tile.
pub async fn leaves(
    connection: &mut PgConnection,
    organization_id: &str,
    signed: &Signed,
    indexes: &[u64],
) -> Result<HashMap<u64, Hash>, TreeError> {
    let Checkpoint { size, root, .. } = signed.checkpoint;
    let node = |place: u64| Node { level: 0, place };
    let indexes = || indexes.iter().copied().filter(|index| *index < size);
    // The proof of the first leaf of a tile needs all others.
    let firsts: BTreeSet<u64> = indexes().map(|index| index - index % WIDTH).collect();
    let question = |index: u64| Question::Inclusion { index, size };
    let mut wanted: Vec<Node> = indexes().chain(firsts.iter().copied()).map(node).collect();
    for first in &firsts {
        wanted.extend(question(*first).nodes()?);
    }
    let found = tiles::nodes(connection, organization_id, signed.epoch, &wanted).await?;
    let is_signed = |first: u64| {
        let leaf = found.get(&node(first));
        let proof = question(first).answer(&found);
        leaf.zip(proof.ok())
            .is_some_and(|(leaf, proof)| check_inclusion(&proof, size, root, first, *leaf).is_ok())
    };
    let signed: HashSet<u64> = firsts.iter().copied().filter(|first| is_signed(*first)).collect();
    let indexes = indexes().filter(|index| signed.contains(&(index - index % WIDTH)));
    Ok(indexes.filter_map(|index| Some((index, *found.get(&node(index))?))).collect())
}
