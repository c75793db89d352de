//! The service as one piece: settings, composition, and what operators do.
//!
//! # Code map
//! - [`Service`]: composition; [`settings`]: what it is composed by.
//! - [`connections`], [`mod@tls`]: the server loop; `front`: compression and CORS.
//! - `metrics`, [`traces`]: what is seen of it from outside.
//! - [`database`], [`private_postgres`], [`migrations`], `preparation`: what is there before the first request.
//! - [`operator`], [`numbers`], [`audit`], [`doctor`]: what commands do.

pub mod audit;
pub mod connections;
pub mod database;
pub mod doctor;
pub mod fictional_numbers;
mod front;
mod metrics;
pub mod migrations;
pub mod numbers;
pub mod operator;
mod preparation;
pub mod private_postgres;
mod retention;
mod service;
pub mod settings;
pub mod signing;
pub mod stop;
pub mod tls;
pub mod traces;

pub use service::{CONNECTIONS, HEARTBEAT, Service, ServiceSettings};
