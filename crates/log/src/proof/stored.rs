//! The signed tree and the last checkpoint, as the database has them.

use std::collections::HashMap;

use identity_proof::tree::{Node, Question};
use identity_proof::{Hash, ProofError};
use sqlx::{PgConnection, PgExecutor};

use super::error::TreeError;
use super::signed::Signed;
use super::tiles;

/// The last checkpoint of an organization, as the database has it.
pub async fn last(executor: impl PgExecutor<'_>, organization_id: &str) -> Result<Option<Signed>, TreeError> {
    let note: Option<String> = sqlx::query_scalar(
        "select note from checkpoints where organization_id = $1 order by epoch desc, size desc limit 1",
    )
    .bind(organization_id)
    .fetch_optional(executor)
    .await?;
    Ok(note.map(Signed::read).transpose()?)
}

/// Answers a question from the stored tree of an epoch.
pub async fn answer(
    connection: &mut PgConnection,
    organization_id: &str,
    epoch: u64,
    question: Question,
) -> Result<Vec<Hash>, TreeError> {
    let nodes = tiles::nodes(connection, organization_id, epoch, &question.nodes()?).await?;
    Ok(question.answer(&nodes)?)
}

/// The hash of a complete subtree of the stored tree.
pub async fn node(
    connection: &mut PgConnection,
    organization_id: &str,
    epoch: u64,
    node: Node,
) -> Result<Hash, TreeError> {
    let nodes = tiles::nodes(connection, organization_id, epoch, &[node]).await?;
    nodes.get(&node).copied().ok_or_else(|| ProofError::Missing(node).into())
}

/// The signed leaf with this index.
pub async fn leaf(
    connection: &mut PgConnection,
    organization_id: &str,
    epoch: u64,
    index: u64,
) -> Result<Hash, TreeError> {
    node(connection, organization_id, epoch, Node { level: 0, place: index }).await
}

/// The signed leaves with these indexes. An index that is not signed yet is left out.
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
