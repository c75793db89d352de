//! What operators see of a running service, and what they can hold it to.

mod clients;
mod connections;
mod limits;
mod metrics;
pub(super) mod shares;
