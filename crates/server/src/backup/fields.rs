//! The rows of a block, and their fields by the names of the columns.

use anyhow::{Context as _, ensure};
use identity_log::copy::{self, CopyRow};

use super::format::{BLOCK_BYTES, Section};

/// The rows of a block, each with one field for each column. A crafted block does not make many more of them than it has room for
/// in [`BLOCK_BYTES`].
pub(super) fn rows_of<'a>(section: &Section, block: &'a [u8]) -> anyhow::Result<Vec<CopyRow<'a>>> {
    let mut rows = vec![];
    each_row(section, block, |row| rows.push(row))?;
    Ok(rows)
}

/// How many rows a block has.
pub(super) fn count_rows(section: &Section, block: &[u8]) -> anyhow::Result<u64> {
    let mut count = 0;
    each_row(section, block, |_| count += 1)?;
    Ok(count)
}

fn each_row<'a>(section: &Section, block: &'a [u8], mut take: impl FnMut(CopyRow<'a>)) -> anyhow::Result<()> {
    let mut rest = block;
    while !rest.is_empty() {
        ensure!(
            block.len() - rest.len() < BLOCK_BYTES,
            "a block of {} in the backup has more rows than any that is written",
            section.table
        );
        let (row, behind) = copy::split_row(rest).context("a row of the backup cannot be read")?;
        ensure!(
            row.fields() == section.columns.len(),
            "a row of {} in the backup has not one field for each column",
            section.table
        );
        take(row);
        rest = behind;
    }
    Ok(())
}

/// Columns of a section that are read, and where they stand in a row.
pub(super) struct Columns<'a, const N: usize> {
    table: &'a str,
    names: [&'static str; N],
    /// For each column of a row, its place among `names`, if it is one of them.
    places: Vec<Option<usize>>,
}

/// A field of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    table: &'a str,
    name: &'static str,
    value: Option<&'a [u8]>,
}

impl<'a, const N: usize> Columns<'a, N> {
    pub(super) fn of(section: &'a Section, names: [&'static str; N]) -> Self {
        let mut places = vec![None; section.columns.len()];
        for (place, name) in names.iter().enumerate() {
            let at = section.columns.iter().position(|(column, _)| column == name);
            if let Some(column) = at.and_then(|at| places.get_mut(at)) {
                *column = Some(place);
            }
        }
        Self { table: &section.table, names, places }
    }

    /// The fields of a row, in the order of the names.
    pub(super) fn read(&self, mut row: CopyRow<'a>) -> anyhow::Result<[Field<'a>; N]> {
        let mut fields = self.names.map(|name| Field { table: self.table, name, value: None });
        for place in &self.places {
            let value = row.bytes().context("a row of the backup cannot be read")?;
            if let Some(field) = place.and_then(|place| fields.get_mut(place)) {
                field.value = value;
            }
        }
        Ok(fields)
    }
}

impl<'a> Field<'a> {
    /// The bytes of a field that is not null.
    pub(super) fn bytes(&self) -> anyhow::Result<&'a [u8]> {
        self.value.with_context(|| format!("a row of {} in the backup has no {}", self.table, self.name))
    }

    fn fault(&self, fault: &str) -> String {
        format!("{} of a row of {} in the backup {fault}", self.name, self.table)
    }

    pub(super) fn text(&self) -> anyhow::Result<&'a str> {
        std::str::from_utf8(self.bytes()?).with_context(|| self.fault("is no text"))
    }

    pub(super) fn bigint(&self) -> anyhow::Result<i64> {
        let bytes = self.bytes()?.try_into();
        Ok(i64::from_be_bytes(bytes.with_context(|| self.fault("is no number"))?))
    }

    pub(super) fn count(&self) -> anyhow::Result<u64> {
        u64::try_from(self.bigint()?).with_context(|| self.fault("is negative"))
    }

    pub(super) fn jsonb(&self) -> anyhow::Result<&'a [u8]> {
        let json = self.bytes()?.strip_prefix(&[1]);
        json.with_context(|| self.fault("is no JSON"))
    }

    pub(super) fn timestamp(&self) -> anyhow::Result<time::OffsetDateTime> {
        copy::moment(self.bytes()?).with_context(|| self.fault("is no moment"))
    }
}
