//! Webhooks: where they may be sent, how they are signed, and what is sent when.
//!
//! # Code map
//! - [`address`]: which URLs and addresses may be reached. `connector`: connections to those and to no others.
//! - [`signature`]: the headers by which a receiver knows who sends.
//! - [`attempt`]: one POST and its answer.
//! - [`schedule`]: when a delivery is repeated, and when an endpoint is given up. Pure.

pub mod address;
pub mod attempt;
mod connector;
pub mod schedule;
pub mod signature;
