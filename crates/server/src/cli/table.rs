//! Tables for people at a terminal.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Width};
use identity_terminal::escape;
use time::{Duration, OffsetDateTime};

/// The least width of a terminal, in columns, to which a table is fitted. On a narrower one its lines are not wrapped.
const LEAST_WIDTH: u16 = 40;

/// The width in columns that is enough for a column whose words may be broken.
const ENOUGH_WIDTH: u16 = 7;

/// The space beside the text of each column.
const PADDING: u16 = 2;

/// Rows under headings, aligned to the width of the terminal.
#[derive(Debug)]
pub(crate) struct Table {
    inner: comfy_table::Table,
    /// What the rows are.
    rows: &'static str,
    /// For each column the least width to which it is fitted.
    least_widths: Vec<u16>,
    /// The columns with ids and names that are copied: no line break divides one.
    copied: &'static [usize],
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
    /// A table of these `rows`, which are named in the plural. An id or a name in a `copied` column is never divided, so that it
    /// can be copied.
    pub(super) fn new(rows: &'static str, headings: &[&str], copied: &'static [usize]) -> Self {
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
        Self { inner: table, rows, least_widths: vec![ENOUGH_WIDTH; headings.len()], copied, has_colors }
    }

    pub(super) fn add(&mut self, cells: impl IntoIterator<Item = Toned>) {
        let cells: Vec<Toned> =
            cells.into_iter().map(|(text, tone)| (escape::text(&text).to_string(), tone)).collect();
        let has_colors = self.has_colors;
        self.inner.add_row(cells.iter().map(|(text, tone)| {
            let cell = Cell::new(text);
            match tone.color().filter(|_| has_colors) {
                Some(color) => cell.fg(color),
                None => cell,
            }
        }));
        for &column in self.copied {
            if let Some((text, _)) = cells.get(column) {
                self.keep_words(column, text);
            }
        }
    }

    /// Keeps the words of a cell undivided. If a terminal is too narrow for that, no line of the table is fitted to it.
    fn keep_words(&mut self, column: usize, text: &str) {
        let longest = text.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0);
        let longest = u16::try_from(longest).unwrap_or(u16::MAX);
        if let Some(least) = self.least_widths.get_mut(column)
            && let Some(column) = self.inner.column_mut(column)
        {
            *least = (*least).max(longest);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*least + PADDING)));
        }
        let needed = self.least_widths.iter().fold(0, |sum: u16, width| sum.saturating_add(width + PADDING));
        if self.inner.width().is_some_and(|width| width < needed) {
            self.inner.set_content_arrangement(ContentArrangement::Disabled);
        }
    }

    /// The lines of the table, or one that says that it has no row. Its cells are escaped, so they can be printed as they are.
    pub(super) fn text(&self) -> String {
        if self.inner.is_empty() { format!("no {}", self.rows) } else { self.inner.trim_fmt() }
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
