//! The log as something that can be proved: its Merkle trees, and what was signed of them.
//!
//! - [`signer`]: the task that grows the trees and signs them, and all that it refuses to sign.
//! - [`Refusal`]: why a log is not signed; `known` finds out.
//! - [`tiles`]: a tree in rows.
//! - [`trailer`]: what ties a file of events to a checkpoint.
//! - [`memory`]: what was signed last, kept outside the database, since a restored database has forgotten it.
//!
//! No two histories of one organization and epoch are ever signed: see [`signer`].

mod known;
pub mod memory;
mod refusal;
pub mod signer;
pub mod tiles;
pub mod trailer;

use std::collections::HashMap;

use identity_proof::tree::{Node, Question};
use identity_proof::{Checkpoint, Hash, NoteError, ProofError, checkpoint};
use sqlx::{PgConnection, PgExecutor};

pub use refusal::{Refusal, SignError};

/// A checkpoint and the note that says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    /// Which of the organization's histories it belongs to.
    pub epoch: u64,
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: String,
}

impl Signed {
    /// Reads a note.
    pub fn read(note: String) -> Result<Self, NoteError> {
        let checkpoint = Checkpoint::read(&note)?;
        let (_, epoch) = checkpoint::parse_origin(&checkpoint.origin).ok_or(NoteError::Malformed)?;
        Ok(Self { epoch, checkpoint, note })
    }

    /// Where it stands among all that were signed of its organization.
    pub(crate) fn place(&self) -> (u64, u64) {
        (self.epoch, self.checkpoint.size)
    }
}

/// Why something of the tree could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The database refused, or went away.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// There is no such proof, or the tree has a hole.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// What is stored as a checkpoint is none.
    #[error("stored checkpoint")]
    Note(#[from] NoteError),
    /// A tile is not made of hashes.
    #[error("a stored tile is not made of hashes")]
    Tile,
}

/// The last checkpoint that was signed of an organization's history.
pub async fn last(executor: impl PgExecutor<'_>, organization_id: &str) -> Result<Option<Signed>, TreeError> {
    let note: Option<String> = sqlx::query_scalar(
        "select note from checkpoints where organization_id = $1 order by epoch desc, size desc limit 1",
    )
    .bind(organization_id)
    .fetch_optional(executor)
    .await?;
    Ok(note.map(Signed::read).transpose()?)
}

/// What the stored tree of an epoch answers.
pub async fn answer(
    connection: &mut PgConnection,
    organization_id: &str,
    epoch: u64,
    question: Question,
) -> Result<Vec<Hash>, TreeError> {
    let nodes = tiles::nodes(connection, organization_id, epoch, &question.nodes()?).await?;
    Ok(question.answer(&nodes)?)
}

/// A complete subtree of the stored tree.
pub async fn node(
    connection: &mut PgConnection,
    organization_id: &str,
    epoch: u64,
    node: Node,
) -> Result<Hash, TreeError> {
    let nodes = tiles::nodes(connection, organization_id, epoch, &[node]).await?;
    nodes.get(&node).copied().ok_or_else(|| ProofError::Missing(node).into())
}

/// The leaf with this index as it was when it was signed.
pub async fn leaf(
    connection: &mut PgConnection,
    organization_id: &str,
    epoch: u64,
    index: u64,
) -> Result<Hash, TreeError> {
    node(connection, organization_id, epoch, Node { level: 0, place: index }).await
}

/// The leaves with these indexes as they were when they were signed; those that were not are left out.
pub async fn leaves(
    connection: &mut PgConnection,
    organization_id: &str,
    epoch: u64,
    indexes: &[u64],
) -> Result<HashMap<u64, Hash>, TreeError> {
    let wanted: Vec<Node> = indexes.iter().map(|place| Node { level: 0, place: *place }).collect();
    let found = tiles::nodes(connection, organization_id, epoch, &wanted).await?;
    Ok(found.into_iter().map(|(node, hash)| (node.place, hash)).collect())
}

/// Epochs and sizes are bigints in the database and never negative.
fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
