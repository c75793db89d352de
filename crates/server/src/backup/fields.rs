//! The fields of a row, by the names of their columns.

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

/// A row whose fields are looked up by name.
pub(super) struct Fields<'a> {
    section: &'a Section,
    values: Vec<Option<&'a [u8]>>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(section: &'a Section, mut row: CopyRow<'a>) -> anyhow::Result<Self> {
        let values = section.columns.iter().map(|_| row.bytes()).collect::<Result<_, _>>();
        Ok(Self { section, values: values.context("a row of the backup cannot be read")? })
    }

    /// The bytes of a field that is not null.
    pub(super) fn bytes(&self, name: &str) -> anyhow::Result<&'a [u8]> {
        let place = self.section.columns.iter().position(|(column, _)| column == name);
        let value = place.and_then(|place| self.values.get(place).copied().flatten());
        value.with_context(|| format!("a row of {} in the backup has no {name}", self.section.table))
    }

    fn fault(&self, name: &str, fault: &str) -> String {
        format!("{name} of a row of {} in the backup {fault}", self.section.table)
    }

    pub(super) fn text(&self, name: &str) -> anyhow::Result<&'a str> {
        std::str::from_utf8(self.bytes(name)?).with_context(|| self.fault(name, "is no text"))
    }

    pub(super) fn bigint(&self, name: &str) -> anyhow::Result<i64> {
        let bytes = self.bytes(name)?.try_into();
        Ok(i64::from_be_bytes(bytes.with_context(|| self.fault(name, "is no number"))?))
    }

    pub(super) fn count(&self, name: &str) -> anyhow::Result<u64> {
        u64::try_from(self.bigint(name)?).with_context(|| self.fault(name, "is negative"))
    }

    pub(super) fn jsonb(&self, name: &str) -> anyhow::Result<&'a [u8]> {
        let json = self.bytes(name)?.strip_prefix(&[1]);
        json.with_context(|| self.fault(name, "is no JSON"))
    }

    pub(super) fn timestamp(&self, name: &str) -> anyhow::Result<time::OffsetDateTime> {
        copy::moment(self.bytes(name)?).with_context(|| self.fault(name, "is no moment"))
    }
}
