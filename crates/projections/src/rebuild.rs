//! Rebuilding a read model while the service runs.
//!
//! A job builds the next table in the schema `read_model_next`, from the log alone. The live table does not change until
//! the cut-over. The cut-over locks `log_head`, folds the last events and swaps the tables in one transaction, so
//! writers wait for milliseconds and no event is missed. A job that is killed at any moment leaves the live table as
//! it was; the next job starts again.
//!
//! Tables are made, moved and dropped by functions of the database, since the role that serves need not own them ([`shapes`]).

mod connection;
mod cutover;
mod cutover_command;
mod generation;
mod job;
mod progress;
mod rollback;
pub mod shapes;
mod verification;
mod workers;

pub use crate::job_error::JobError;
pub use cutover::is_of_another_job;
pub use cutover_command::cut_over_until;
pub use generation::SCHEMAS;
pub use job::{rebuild_counted, rebuild_until};
pub use progress::{Phase, Progress, Report, Settings};
pub use rollback::rollback;
pub use verification::{Verified, verify};
