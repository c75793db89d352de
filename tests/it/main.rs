//! Behaviour of identityd, by feature.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the words of a test, too, stop it when they cannot go on"
)]

mod handles;
mod harness;
mod identities;
mod visibility;
