//! Comparing the rows of aggregates with the rows of the live table.

use std::collections::HashMap;

use identity_log::ReadError;
use identity_log::copy::{CopyError, CopyRow, CopyWriter};
use sqlx::PgConnection;
use uuid::Uuid;

use super::contents::{Difference, DifferenceKind, Totals, read_rows};
use super::folder::Folded;
use crate::columns::names;
use crate::job_error::JobError;
use crate::projection::Projection;

/// The columns of a row's key, in the wire form.
type Key = Vec<Vec<u8>>;

/// Compares folded aggregates with the rows of a live table, row by row and byte for byte in the wire form. It keeps
/// only the key and a checksum of every live row, so a range of any table fits into memory.
#[derive(Default)]
pub(super) struct Check {
    live: HashMap<Key, Totals>,
    differences: Vec<Difference>,
}

impl Check {
    /// Reads the rows that fulfil a condition on the column of ids.
    pub(super) async fn begin<P: Projection>(
        live: &mut PgConnection,
        condition: impl FnOnce(&str) -> String,
    ) -> Result<Self, JobError> {
        let columns = names(P::COLUMNS);
        let condition = condition(P::COLUMNS.first().map_or("id", |column| column.name));
        let statement =
            format!("copy (select {columns} from {} where {condition}) to stdout (format binary)", P::NAME);
        let mut check = Self::default();
        read_rows(live, &statement, |row| {
            let sum = checksum(row.as_bytes());
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
                Some(found) if found == checksum(expected) => continue,
                Some(_) => DifferenceKind::Different,
                None => DifferenceKind::Missing,
            };
            self.differences.push(Difference { id: id_of::<P>(&key), kind });
        }
        Ok(())
    }

    /// All differences. A live row that no aggregate accounts for is an extra one.
    pub(super) fn finish<P: Projection>(self) -> Vec<Difference> {
        let extra =
            self.live.keys().map(|key| Difference { id: id_of::<P>(key), kind: DifferenceKind::Extra });
        self.differences.into_iter().chain(extra).collect()
    }
}

fn checksum(row: &[u8]) -> Totals {
    let mut totals = Totals::default();
    totals.add_row(row);
    totals
}

fn key<P: Projection>(row: &mut CopyRow<'_>) -> Result<Key, CopyError> {
    (0..P::KEY_COLUMNS).map(|_| Ok(row.bytes()?.unwrap_or_default().to_vec())).collect()
}

/// The key of a row as text. The columns of keys are UUIDs, texts and whole numbers.
fn id_of<P: Projection>(key: &[Vec<u8>]) -> String {
    let columns = key.iter().zip(P::COLUMNS).map(|(value, column)| {
        let number = value.as_slice().try_into().ok().filter(|_| column.is_whole_number());
        number.map_or_else(|| text_of(value), |number| i64::from_be_bytes(number).to_string())
    });
    columns.collect::<Vec<_>>().join("/")
}

fn text_of(value: &[u8]) -> String {
    Uuid::from_slice(value)
        .map_or_else(|_| String::from_utf8_lossy(value).into_owned(), |uuid| uuid.to_string())
}
