//! A running service from the operator's side: metrics, limits, connections and settings for clients.

mod altered;
mod clients;
mod connections;
mod http2;
mod limits;
mod metrics;
mod readiness;
pub(super) mod shares;
