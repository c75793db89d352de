//! Holding what aggregates come to against the rows that are there.

use std::collections::HashMap;

use identity_log::copy::CopyWriter;
use identity_log::scan::Range;
use sqlx::PgConnection;
use uuid::Uuid;

use super::folder::Folded;
use super::{Difference, DifferenceKind, Totals, read_rows};
use crate::projection::Projection;
use crate::rebuild::JobError;

/// Holds folded aggregates against the rows of a live table, byte for byte as both go over the wire. Of every live row
/// only a sum is kept, so a range of any table fits into memory.
#[derive(Default)]
pub(super) struct Check {
    live: HashMap<Vec<u8>, Totals>,
    differences: Vec<Difference>,
}

impl Check {
    pub(super) async fn begin<P: Projection>(
        live: &mut PgConnection,
        range: &Range,
    ) -> Result<Self, JobError> {
        let columns = P::COLUMNS.join(", ");
        let condition = range.condition(P::COLUMNS.first().copied().unwrap_or("id"));
        let statement =
            format!("copy (select {columns} from {} where {condition}) to stdout (format binary)", P::NAME);
        let mut check = Self::default();
        read_rows(live, &statement, |row| {
            let key = row.bytes()?.unwrap_or_default().to_vec();
            check.live.entry(key).or_default().add_row(row.as_bytes());
            Ok(())
        })
        .await?;
        Ok(check)
    }

    pub(super) fn add<P: Projection>(&mut self, (id, row): &Folded<P>) -> Result<(), JobError> {
        let mut expected = Totals::default();
        if let Some(row) = row {
            let mut writer = CopyWriter::default();
            P::copy(id, row, &mut writer)?;
            writer.rows().for_each(|row| expected.add_row(row));
        }
        let found = self.live.remove(&key_of(id)).unwrap_or_default();
        if expected != found {
            let kind = match (expected.rows, found.rows) {
                (_, 0) => DifferenceKind::Missing,
                (0, _) => DifferenceKind::Extra,
                _ => DifferenceKind::Different,
            };
            self.differences.push(Difference { id: id.clone(), kind });
        }
        Ok(())
    }

    /// Rows that the log never spoke of are left over.
    pub(super) fn finish(self) -> Vec<Difference> {
        let extra = self.live.keys().map(|key| Difference { id: id_of(key), kind: DifferenceKind::Extra });
        self.differences.into_iter().chain(extra).collect()
    }
}

/// An aggregate's id as the first column of its rows holds it.
fn key_of(id: &str) -> Vec<u8> {
    id.parse::<Uuid>().map_or_else(|_| id.as_bytes().to_vec(), |uuid| uuid.as_bytes().to_vec())
}

fn id_of(key: &[u8]) -> String {
    Uuid::from_slice(key).map_or_else(|_| String::from_utf8_lossy(key).into_owned(), |uuid| uuid.to_string())
}
