//! The mark of a restore that is not finished, which is written in the transaction of the restored rows.

use sqlx::{Executor as _, PgConnection, PgExecutor};

/// What everybody says who meets the mark.
pub const UNFINISHED_RESTORE: &str =
    "a restore into this database is not finished: run the same `identityd restore` again, which finishes it";

/// Which backup is being restored, if the mark is there: the hash in its last line.
pub async fn find(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    let is_there: bool = sqlx::query_scalar("select to_regclass('restore_under_way') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if !is_there {
        return Ok(None);
    }
    sqlx::query_scalar("select backup from restore_under_way").fetch_optional(connection).await
}

/// Sets the mark.
pub(super) async fn set(executor: impl PgExecutor<'_>, backup: &str) -> Result<(), sqlx::Error> {
    sqlx::query("insert into restore_under_way (backup) values ($1)")
        .bind(backup)
        .execute(executor)
        .await
        .map(drop)
}

/// Removes the mark: the restore is finished.
pub async fn remove(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute("delete from restore_under_way").await.map(drop)
}
