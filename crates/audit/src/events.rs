//! The events of an export, one after the other, and what its trailer says of those that are not in it. Nothing is proved here:
//! [`verify`](crate::verify) does that.

use std::path::Path;

use anyhow::ensure;
use identity_proof::trailer::Trailer;

use crate::envelope::Envelope;
use crate::line;
use crate::report::Fault;
use crate::source::{self, Source};

/// Reads the events of an export. Fails if the trailer is missing, or names another number of events.
pub fn read(path: &Path, mut take: impl FnMut(Envelope)) -> anyhow::Result<Trailer> {
    let (mut source, trailer) = Source::open(path)?;
    let mut number = 0;
    while let Some(batch) = source.next_batch()? {
        for line in source::lines_of(&batch) {
            number += 1;
            let fault = |what| Fault { line: Some(number), sequence: None, what };
            take(line::envelope(line).map_err(fault)?);
        }
    }
    ensure!(trailer.count == number, "the trailer says {} events, the file has {number}", trailer.count);
    Ok(trailer)
}

/// Where in the history the events of an export begin.
pub fn first_place(trailer: &Trailer) -> u64 {
    trailer.after.map(|after| after + 1).or(trailer.first).unwrap_or(1)
}

/// Why an export may lack events of an aggregate, according to its trailer.
pub fn doubt(trailer: &Trailer) -> Option<String> {
    if trailer.filtered {
        return Some("a filter left events out of this file".to_owned());
    }
    let begin = first_place(trailer);
    let end = trailer.until.map_or_else(String::new, |until| format!(" and end with event {until}"));
    let is_part = begin > 1 || trailer.until.is_some();
    is_part.then(|| format!("the events of this file begin with event {begin} of the history{end}"))
}
