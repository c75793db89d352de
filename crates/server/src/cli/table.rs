//! Tables for people at a terminal.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ContentArrangement};
use identity_terminal::escape;
use time::{Duration, OffsetDateTime};

/// The least width of a terminal, in columns, to which a table is fitted. On a narrower one its lines are not wrapped.
const LEAST_WIDTH: u16 = 40;

/// Rows under headings, aligned to the width of the terminal.
#[derive(Debug)]
pub(crate) struct Table {
    table: comfy_table::Table,
    has_colors: bool,
}

/// The meaning of the colour of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// No meaning.
    Plain,
    /// It is as it should be.
    Good,
    /// It needs attention.
    Bad,
    /// It is over and done with.
    Past,
}

/// A text with the meaning of its colour.
pub(super) type Toned = (String, Tone);

impl Table {
    pub(super) fn new(headings: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_preset(NOTHING);
        // A terminal that does not know its width reports 0.
        if table.width().is_some_and(|width| width >= LEAST_WIDTH) {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        let has_colors = has_colors();
        table.set_header(headings.iter().map(|heading| {
            let cell = Cell::new(heading);
            if has_colors { cell.add_attribute(Attribute::Bold) } else { cell }
        }));
        Self { table, has_colors }
    }

    pub(super) fn add(&mut self, cells: impl IntoIterator<Item = Toned>) {
        let has_colors = self.has_colors;
        self.table.add_row(cells.into_iter().map(|(text, tone)| {
            let cell = Cell::new(escape::text(&text));
            match tone.color().filter(|_| has_colors) {
                Some(color) => cell.fg(color),
                None => cell,
            }
        }));
    }

    /// The lines of the table. Its cells are escaped, so they can be printed as they are; none if it has no row.
    pub(super) fn text(&self) -> Option<String> {
        (!self.table.is_empty()).then(|| self.table.trim_fmt())
    }
}

impl Tone {
    const fn color(self) -> Option<Color> {
        match self {
            Self::Plain => None,
            Self::Good => Some(Color::Green),
            Self::Bad => Some(Color::Red),
            Self::Past => Some(Color::DarkGrey),
        }
    }
}

/// <https://no-color.org>: the variable is there and not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "a convention of all programs at a terminal, and no setting of this one"
)]
fn has_colors() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How long ago something happened.
#[expect(clippy::disallowed_methods, reason = "what a person reads now is said of now")]
pub(super) fn ago(time: OffsetDateTime) -> String {
    since(OffsetDateTime::now_utc() - time)
}

/// Whether it is past by the clock of this machine.
#[expect(clippy::disallowed_methods, reason = "what a person reads now is said of now")]
pub(super) fn is_past(time: OffsetDateTime) -> bool {
    time <= OffsetDateTime::now_utc()
}

fn since(past: Duration) -> String {
    let units = [(past.whole_days(), "day"), (past.whole_hours(), "hour"), (past.whole_minutes(), "minute")];
    match units.into_iter().find(|(count, _)| *count > 0) {
        Some((1, unit)) => format!("1 {unit} ago"),
        Some((count, unit)) => format!("{count} {unit}s ago"),
        None => "just now".to_owned(),
    }
}

/// A number with its thousands apart, such as `12,345`.
pub(super) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A text without colour.
pub(super) fn plain(text: impl Into<String>) -> Toned {
    (text.into(), Tone::Plain)
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::{grouped, since};

    #[test]
    fn numbers_and_times_are_said_as_people_say_them() {
        let said = [0, 999, 1_000, -1_234_567].map(grouped);
        assert_eq!(said, ["0", "999", "1,000", "-1,234,567"]);
        let said = [-5, 59, 60, 7_200, 86_400 * 40].map(|seconds| since(Duration::seconds(seconds)));
        assert_eq!(said, ["just now", "just now", "1 minute ago", "2 hours ago", "40 days ago"]);
    }
}
