//! Tests of the binary as a process: the private Postgres that it runs, its settings, its exit codes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what fails in a helper of a test fails the test"
)]

mod altered_events;
mod audit;
mod backup;
mod checks;
mod claims;
mod command_line;
mod connections;
mod demo;
mod harness;
mod hung_postgres;
mod hung_process;
mod long_lists;
mod numbers;
mod operators;
mod pipes;
mod poolers;
mod private_postgres;
mod projections;
mod repetitions;
mod roles;
mod secrets;
mod secrets_key;
mod signer_etcd;
mod signing_key;
mod silent_database;
mod standing;
mod starts;
mod terminal;
mod traces;
mod under_load;
mod webhooks;
