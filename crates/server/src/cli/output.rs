//! What a command prints.

pub(super) use identity_terminal::output::{Output, is_terminal, note, print_table};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A time as the API writes it too.
pub(super) fn timestamp(time: OffsetDateTime) -> String {
    // Formatting fails only for years that RFC 3339 cannot express, and those are better shown than hidden.
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}
