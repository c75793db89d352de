//! Tests of the behaviour of identityd through HTTP, one module for each feature.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the harness, too, stops a test that cannot go on"
)]

mod answers;
mod api_keys;
mod authority;
mod bad_input;
mod clients;
mod concurrency;
mod conditional;
mod directory;
mod docs;
mod handles;
mod harness;
mod history;
mod idempotency;
mod identities;
mod isolation;
mod key_expiry;
mod key_rotation;
mod log;
mod mailboxes;
mod matrix;
mod memory;
mod operations;
mod outages;
mod paging;
mod phone_numbers;
mod proof;
mod rebuild;
mod restart;
mod roles;
mod schema;
mod shown_once;
mod signing_keys;
mod silence;
mod standbys;
mod tunnels;
mod unserved;
mod vault;
mod vault_content;
mod vault_reads;
mod visibility;
mod webhooks;
mod whoami;
