//! The checkpoint and the proofs in the trailer of an export.

use identity_proof::trailer::Trailer;
use identity_proof::tree::Question;
use identity_proof::{Frontier, Hash};
use sqlx::PgConnection;

use super::error::TreeError;
use super::introductions;
use super::signed::Signed;
use super::stored::{answer, node};

/// Writes the last checkpoint into the trailer of an export, with what a verifier needs to compute the root of the checkpoint
/// from the events of the export. An export with a filter gets no proof, since events are missing. An export without `until` gets
/// no consistency proof, since it contains all events up to the checkpoint.
pub async fn tie(
    trailer: &mut Trailer,
    connection: &mut PgConnection,
    organization_id: &str,
    signed: &Signed,
) -> Result<(), TreeError> {
    let Signed { epoch, checkpoint, note } = signed;
    trailer.checkpoint = Some(note.clone());
    trailer.introductions = introductions::all(&mut *connection).await?;
    let after = trailer.after.unwrap_or_default();
    if trailer.filtered || after >= checkpoint.size {
        return Ok(());
    }
    let mut before = vec![];
    for subtree in Frontier::nodes(after)? {
        before.push(node(connection, organization_id, *epoch, subtree).await?);
    }
    trailer.before = in_base64(&before);
    if let Some(from) = trailer.until.filter(|until| (after + 1..checkpoint.size).contains(until)) {
        let question = Question::Consistency { from, to: checkpoint.size };
        trailer.consistency = in_base64(&answer(connection, organization_id, *epoch, question).await?);
    }
    Ok(())
}

fn in_base64(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}
