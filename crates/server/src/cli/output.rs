//! What a command prints.

use identity_terminal::escape;
use identity_terminal::output::write_line;
pub(super) use identity_terminal::output::{Output, is_terminal, must_reach_somebody, note};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::table::Table;

/// Prints a list: an array, or one line each with the fields divided by tabs; on a terminal, a table, which says if it is empty.
pub(super) fn print_list(
    output: Output,
    json: Vec<Value>,
    lines: &[Vec<String>],
    table: &Table,
) -> anyhow::Result<()> {
    if output.json {
        return write_line(&escape::json(&Value::Array(json).to_string()));
    }
    if is_terminal() {
        return print_table(table);
    }
    lines.iter().try_for_each(|fields| {
        let fields: Vec<_> = fields.iter().map(|field| escape::text(field)).collect();
        write_line(&fields.join("\t"))
    })
}

/// Prints a table.
pub(super) fn print_table(table: &Table) -> anyhow::Result<()> {
    write_line(&table.text())
}

/// A time as the API writes it too.
pub(super) fn timestamp(time: OffsetDateTime) -> String {
    // Formatting fails only for years that RFC 3339 cannot express, and those are better shown than hidden.
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}
