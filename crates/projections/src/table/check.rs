//! Holding what aggregates come to against the rows that are there.

use std::collections::HashMap;

use identity_log::ReadError;
use identity_log::copy::{CopyError, CopyRow, CopyWriter};
use identity_log::scan::AggregateRange;
use sqlx::PgConnection;
use uuid::Uuid;

use super::folder::Folded;
use super::{Difference, DifferenceKind, Totals, read_rows};
use crate::projection::Projection;
use crate::rebuild::JobError;

/// The columns of a row's key, as they go over the wire.
type Key = Vec<Vec<u8>>;

/// Holds folded aggregates against the rows of a live table, row by row and byte for byte as both go over the wire. Of
/// every live row only its key and a sum are kept, so a range of any table fits into memory.
#[derive(Default)]
pub(super) struct Check {
    live: HashMap<Key, Totals>,
    differences: Vec<Difference>,
}

impl Check {
    pub(super) async fn begin<P: Projection>(
        live: &mut PgConnection,
        range: &AggregateRange,
    ) -> Result<Self, JobError> {
        let columns = P::COLUMNS.join(", ");
        let condition = range.condition(P::COLUMNS.first().copied().unwrap_or("id"));
        let statement =
            format!("copy (select {columns} from {} where {condition}) to stdout (format binary)", P::NAME);
        let mut check = Self::default();
        read_rows(live, &statement, |row| {
            let sum = sum(row.as_bytes());
            check.live.insert(key::<P>(row)?, sum);
            Ok(())
        })
        .await?;
        Ok(check)
    }

    pub(super) fn add<P: Projection>(&mut self, (id, row): &Folded<P>) -> Result<(), JobError> {
        let Some(row) = row else {
            return Ok(());
        };
        let mut writer = CopyWriter::default();
        P::copy(id, row, &mut writer)?;
        for expected in writer.rows() {
            let key = key::<P>(&mut CopyRow::written(expected)).map_err(ReadError::from)?;
            let kind = match self.live.remove(&key) {
                Some(found) if found == sum(expected) => continue,
                Some(_) => DifferenceKind::Different,
                None => DifferenceKind::Missing,
            };
            self.differences.push(Difference { id: id_of(&key), kind });
        }
        Ok(())
    }

    /// Rows that the log does not speak of are left over.
    pub(super) fn finish(self) -> Vec<Difference> {
        let extra = self.live.keys().map(|key| Difference { id: id_of(key), kind: DifferenceKind::Extra });
        self.differences.into_iter().chain(extra).collect()
    }
}

fn sum(row: &[u8]) -> Totals {
    let mut totals = Totals::default();
    totals.add_row(row);
    totals
}

fn key<P: Projection>(row: &mut CopyRow<'_>) -> Result<Key, CopyError> {
    (0..P::KEY_COLUMNS).map(|_| Ok(row.bytes()?.unwrap_or_default().to_vec())).collect()
}

fn id_of(key: &[Vec<u8>]) -> String {
    let columns = key.iter().map(|column| {
        Uuid::from_slice(column)
            .map_or_else(|_| String::from_utf8_lossy(column).into_owned(), |uuid| uuid.to_string())
    });
    columns.collect::<Vec<_>>().join("/")
}
