//! Cosignatures of witnesses, which are further lines in the notes of checkpoints.

use identity_proof::cosignature::{Cosignature, CosignerKey};
use sqlx::{PgExecutor, PgPool};

use super::error::TreeError;
use super::signed::Signed;
use super::tiles::bigint;

/// How many checkpoints are searched for one that a witness has cosigned, from the last one on.
const MAX_SEARCHED: i64 = 10_000;

/// The last checkpoint of each log, with its organization, unless this witness has cosigned it. Some organizations are left out, and
/// so are logs whose last checkpoint cannot be read: the signer refuses them.
pub async fn missing(
    pool: &PgPool,
    witness: &CosignerKey,
    except: &[String],
) -> Result<Vec<(String, Signed)>, sqlx::Error> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select organization_id, note
         from organization_heads as head,
              lateral (select note from checkpoints
                       where organization_id = head.organization_id
                       order by epoch desc, size desc limit 1) as last
         where organization_id <> all ($2) and position($1 in note) = 0
         order by organization_id",
    )
    .bind(witness.line_start())
    .bind(except)
    .fetch_all(pool)
    .await?;
    let readable = |(organization_id, note)| Some((organization_id, Signed::read(note).ok()?));
    Ok(rows.into_iter().filter_map(readable).collect())
}

/// Adds the cosignature of a witness to a checkpoint, unless it has one of this witness.
pub async fn add(
    pool: &PgPool,
    organization_id: &str,
    signed: &Signed,
    witness: &CosignerKey,
    cosignature: &Cosignature,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update checkpoints set note = note || $5
         where organization_id = $1 and epoch = $2 and size = $3 and position($4 in note) = 0",
    )
    .bind(organization_id)
    .bind(bigint(signed.epoch))
    .bind(bigint(signed.checkpoint.size))
    .bind(witness.line_start())
    .bind(&cosignature.line)
    .execute(pool)
    .await?;
    Ok(())
}

/// The last checkpoint of an epoch that a witness of this name has cosigned, among the last 10,000.
pub async fn last_of(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    epoch: u64,
    witness: &str,
) -> Result<Option<Signed>, TreeError> {
    let note: Option<String> = sqlx::query_scalar(
        "select note
         from (select size, note from checkpoints
               where organization_id = $1 and epoch = $2 order by size desc limit $4) as recent
         where position(E'\\n— ' || $3 || ' ' in note) > 0
         order by size desc
         limit 1",
    )
    .bind(organization_id)
    .bind(bigint(epoch))
    .bind(witness)
    .bind(MAX_SEARCHED)
    .fetch_optional(executor)
    .await?;
    Ok(note.map(Signed::read).transpose()?)
}
