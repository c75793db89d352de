//! The clock of this machine. A key that is presented expires by it; commands are decided by the clock of the database.

use identity_domain::Moment;
use time::OffsetDateTime;

/// Now.
#[expect(
    clippy::disallowed_methods,
    reason = "most keys are in memory, and asking the database for the time of every request \
    would make that useless"
)]
pub(crate) fn now() -> Moment {
    OffsetDateTime::now_utc().into()
}
