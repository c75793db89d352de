//! The row of a read model together with the version of its aggregate.

use identity_log::read::moment::StoredMoment;
use sqlx::FromRow;
use time::OffsetDateTime;

/// A row, and the version of its aggregate that it shows. Both are read in one statement, so no write comes between.
#[derive(Debug, Clone, FromRow)]
pub struct Versioned<T> {
    /// The row.
    #[sqlx(flatten)]
    pub row: T,
    /// The version.
    pub version: i64,
    /// When the aggregate got it.
    #[sqlx(try_from = "StoredMoment")]
    pub versioned_at: OffsetDateTime,
}
