//! The service as one piece: settings, composition, and the work of the command line.
//!
//! # Code map
//! - [`Service`]: composition; [`settings`]: flags, environment and file.
//! - [`connections`], [`mod@tls`]: the server loop; `edge`: compression and CORS.
//! - `metrics`, [`traces`]: for those who watch the service.
//! - [`database`], [`migrations`], [`roles`], `preparation`: work before the first request.
//! - [`signing`], [`secrets_key`]: keys of the installation, in files that nobody else can read. [`witnesses`]: who cosigns what
//!   they sign.
//! - [`operator`], [`numbers`], [`audit`], [`backup`], [`doctor`]: the work of commands; [`unfinished`]: the name of a file while a
//!   command writes it.

pub mod audit;
pub mod backup;
pub mod connections;
pub mod database;
pub mod doctor;
mod edge;
pub mod fictional_numbers;
mod key_file;
mod metrics;
pub mod migrations;
pub mod numbers;
pub mod operator;
mod preparation;
mod retention;
pub mod roles;
pub mod secrets_key;
mod sending;
mod service;
pub mod settings;
pub mod signing;
pub mod tls;
pub mod traces;
pub mod unfinished;
pub mod witnesses;

pub use service::{HEARTBEAT, Service, ServiceSettings};
