//! The notes in which signing keys introduced their successors, as the database has them.

use identity_proof::introduction::{successor, successors};
use identity_proof::{Checkpoint, SigningKey, checkpoint};
use sqlx::{PgConnection, PgExecutor};

use super::signed::Signed;

/// All notes, in the order in which they were made.
pub async fn all(executor: impl PgExecutor<'_>) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("select note from signing_key_introductions order by number").fetch_all(executor).await
}

/// Whether this key has introduced a successor, so that nothing is signed with it any more. A note that the key has not signed
/// counts for nothing: whoever can write to the database can store one.
pub async fn is_replaced(executor: impl PgExecutor<'_>, key: &SigningKey) -> Result<bool, sqlx::Error> {
    let note: Option<String> =
        sqlx::query_scalar("select note from signing_key_introductions where old_key = $1")
            .bind(key.introduced_name())
            .fetch_optional(executor)
            .await?;
    Ok(note.is_some_and(|note| successor(&note, &key.introduced_name()).is_ok()))
}

/// The newest successor of this key, by its name in the introductions; the key itself if it has none.
pub(super) async fn latest(executor: impl PgExecutor<'_>, key: &SigningKey) -> Result<String, sqlx::Error> {
    let (own, notes) = (key.introduced_name(), all(executor).await?);
    let latest = successors(&own, notes.iter().map(String::as_str)).pop();
    Ok(latest.unwrap_or(own))
}

/// Stores a note, in place of one that the key has not signed.
pub(super) async fn keep(
    executor: impl PgExecutor<'_>,
    old: &SigningKey,
    note: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into signing_key_introductions (old_key, note) values ($1, $2)
         on conflict (old_key) do update set note = excluded.note",
    )
    .bind(old.introduced_name())
    .bind(note)
    .execute(executor)
    .await?;
    Ok(())
}

/// Whether a checkpoint was signed with a key from which introductions lead to this one.
pub(super) async fn is_of_predecessor(
    connection: &mut PgConnection,
    key: &SigningKey,
    signed: &Signed,
) -> Result<bool, sqlx::Error> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("select old_key, note from signing_key_introductions order by number")
            .fetch_all(connection)
            .await?;
    let notes = || rows.iter().map(|(_, note)| note.as_str());
    let is_predecessor =
        |old: &str| successors(old, notes()).last().is_some_and(|last| *last == key.introduced_name());
    let has_signed = |old: &str| {
        checkpoint::rename_key(old, &signed.checkpoint.origin)
            .is_ok_and(|old| Checkpoint::open(&signed.note, &old).is_ok())
    };
    Ok(rows.iter().any(|(old, _)| has_signed(old) && is_predecessor(old)))
}
