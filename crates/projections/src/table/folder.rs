//! Folding events that come aggregate by aggregate.

use identity_log::{ReadError, Recorded};

use crate::projection::Projection;

/// An aggregate with its row, or rows.
pub(super) type Folded<P> = (String, Option<<P as Projection>::Row>);

/// Folds one aggregate at a time, and checks that none of the events that it is to read is missing.
pub(super) struct Folder<P: Projection> {
    present: Option<Folded<P>>,
    sequence: i64,
}

impl<P: Projection> Default for Folder<P> {
    fn default() -> Self {
        Self { present: None, sequence: 0 }
    }
}

impl<P: Projection> Folder<P> {
    /// Folds an event. Returns the previous aggregate if the event is the first one of another aggregate.
    pub(super) fn take(&mut self, event: &Recorded) -> Result<Option<Folded<P>>, ReadError> {
        if let Some((id, row)) = &mut self.present
            && *id == event.aggregate_id
        {
            self.sequence = next_sequence::<P>(self.sequence, event)?;
            *row = P::fold(row.take(), event);
            return Ok(None);
        }
        self.sequence = next_sequence::<P>(0, event)?;
        Ok(self.present.replace((event.aggregate_id.clone(), P::fold(None, event))))
    }

    /// The last aggregate.
    pub(super) fn last(self) -> Option<Folded<P>> {
        self.present
    }
}

/// Checks that the event is the next one of its aggregate, or a later one if not all are read. Returns its sequence.
fn next_sequence<P: Projection>(before: i64, event: &Recorded) -> Result<i64, ReadError> {
    if event.sequence == before + 1 || P::EVENT_TYPES.is_some() && event.sequence > before {
        return Ok(event.sequence);
    }
    Err(ReadError::Torn {
        aggregate_id: event.aggregate_id.clone(),
        sequence: before + 1,
        position: event.position,
    })
}
