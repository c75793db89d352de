//! Folding events that come aggregate by aggregate.

use identity_log::{ReadError, Recorded};

use crate::projection::Projection;

/// What one aggregate comes to.
pub(super) type Folded<P> = (String, Option<<P as Projection>::Row>);

/// Holds one aggregate at a time, and holds that its history has no hole: an event that is gone must not pass for one
/// that never was.
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
    /// Folds an event; gives the aggregate before it when it is the first of another.
    pub(super) fn take(&mut self, event: &Recorded) -> Result<Option<Folded<P>>, ReadError> {
        if let Some((id, row)) = &mut self.present
            && *id == event.aggregate_id
        {
            self.sequence = follows(self.sequence, event)?;
            *row = P::fold(row.take(), event);
            return Ok(None);
        }
        self.sequence = follows(0, event)?;
        Ok(self.present.replace((event.aggregate_id.clone(), P::fold(None, event))))
    }

    /// The aggregate that no other has followed.
    pub(super) fn last(self) -> Option<Folded<P>> {
        self.present
    }
}

fn follows(before: i64, event: &Recorded) -> Result<i64, ReadError> {
    if event.sequence == before + 1 {
        return Ok(event.sequence);
    }
    Err(ReadError::Torn {
        aggregate_id: event.aggregate_id.clone(),
        sequence: before + 1,
        position: event.position,
    })
}
