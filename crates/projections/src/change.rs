//! What a batch does to a row.

/// The row of one aggregate before and after a batch.
#[derive(Debug, Clone)]
pub struct Change<Row> {
    /// The aggregate.
    pub id: String,
    /// The row before the batch.
    pub before: Option<Row>,
    /// The row after the batch.
    pub after: Option<Row>,
}
