//! The checkpoint and the proofs in the trailer of an export.

use identity_proof::trailer::Trailer;
use identity_proof::tree::{Question, check_consistency};
use identity_proof::{Frontier, Hash};
use sqlx::PgConnection;

use super::error::TreeError;
use super::introductions;
use super::signed::Signed;
use super::stored::{answer, node, prove_consistency};

/// Writes the last checkpoint into the trailer of an export, with what a verifier needs to compute the root of the checkpoint
/// from the events of the export. An export with a filter gets no proof, since events are missing. An export without `until` gets
/// no consistency proof, since it contains all events up to the checkpoint. If the tiles do not lead to the signed root, the trailer
/// gets no hashes: an honest history would not agree with them.
pub async fn tie(
    trailer: &mut Trailer,
    connection: &mut PgConnection,
    organization_id: &str,
    signed: &Signed,
) -> Result<(), TreeError> {
    let Signed { checkpoint, note, .. } = signed;
    trailer.checkpoint = Some(note.clone());
    trailer.introductions = introductions::all(&mut *connection).await?;
    let after = trailer.after.unwrap_or_default();
    if trailer.filtered || after >= checkpoint.size {
        return Ok(());
    }
    let until = trailer.until.filter(|until| (after + 1..checkpoint.size).contains(until));
    match hashes(connection, organization_id, signed, after, until).await {
        Ok((before, consistency)) => {
            (trailer.before, trailer.consistency) = (in_base64(&before), in_base64(&consistency));
            Ok(())
        }
        Err(TreeError::Proof(_) | TreeError::Tile) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The hashes of the subtrees before the first event, and the proof from the last event to the checkpoint. Fails if they do not lead
/// to the signed root.
async fn hashes(
    connection: &mut PgConnection,
    organization_id: &str,
    signed: &Signed,
    after: u64,
    until: Option<u64>,
) -> Result<(Vec<Hash>, Vec<Hash>), TreeError> {
    let Signed { epoch, checkpoint, .. } = signed;
    let mut before = vec![];
    for subtree in Frontier::nodes(after)? {
        before.push(node(connection, organization_id, *epoch, subtree).await?);
    }
    if after > 0 {
        let question = Question::Consistency { from: after, to: checkpoint.size };
        let growth = answer(connection, organization_id, *epoch, question).await?;
        let root = Frontier::resume(after, before.clone())?.root();
        check_consistency(&growth, (after, root), (checkpoint.size, checkpoint.root))?;
    }
    let consistency = match until {
        Some(until) => prove_consistency(connection, organization_id, signed, until, checkpoint.size).await?,
        None => vec![],
    };
    Ok((before, consistency))
}

fn in_base64(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}
