//! What a comparison has found.

use identity_domain::Kind;

/// How many differences are listed. A comparison that finds as many ends.
const MAX_DIFFERENCES: usize = 10_000;

/// A difference between two readers, or between the log and a read model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs: an aggregate type, `position`, or `organization_sequence`.
    pub what: &'static str,
    /// Which one.
    pub id: String,
    /// How, in words.
    pub how: String,
}

impl Difference {
    /// A difference of an aggregate.
    pub(super) fn of(kind: Kind, id: &str, how: impl Into<String>) -> Self {
        Self { what: kind.as_str(), id: id.to_owned(), how: how.into() }
    }
}

/// An aggregate of a sample that was not compared, since it has too many events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its type.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// How many events it has.
    pub events: i64,
}

/// The result of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// How many aggregates were loaded by both readers.
    pub aggregates: u64,
    /// How many events they have.
    pub events: u64,
    /// The differences, up to 10,000 of them.
    pub differences: Vec<Difference>,
    /// Whether the comparison ended since there were as many differences.
    pub is_cut_off: bool,
    /// Aggregates of a sample that were not compared.
    pub left_out: Vec<LeftOut>,
    /// Read models that were not compared, since another version of the software has made their rows.
    pub outdated: Vec<&'static str>,
}

impl Comparison {
    /// Adds differences, as long as there are not too many.
    pub(super) fn extend(&mut self, differences: impl IntoIterator<Item = Difference>) {
        for difference in differences {
            if self.differences.len() == MAX_DIFFERENCES {
                self.is_cut_off = true;
                return;
            }
            self.differences.push(difference);
        }
    }
}
