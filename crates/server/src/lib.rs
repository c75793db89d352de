//! The service as one piece: settings, composition, and what operators do.

pub mod audit;
pub mod database;
pub mod doctor;
pub mod fictional_numbers;
pub mod migrations;
pub mod numbers;
pub mod operator;
mod preparation;
pub mod private_postgres;
mod retention;
mod service;
pub mod settings;
pub mod signing;

pub use service::{Service, ServiceSettings};
