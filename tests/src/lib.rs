//! Nothing but tests lives here: see `it`.
