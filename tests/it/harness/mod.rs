//! The words in which tests are written: a world with one service in it, and callers who talk to it.
//!
//! - [`World`] is one service over a database of its own, with organizations and agents in it.
//! - [`Caller`] is somebody with a key, or without one. It speaks through the published client (`client()`), through
//!   plain HTTP (`get`, `post`, `patch`, `delete`), and in raw bytes (`raw`) for what no decent client would send.
//! - [`Answer`] is what came back. Every answer is held against the rules that bind all answers (`laws`), so no test
//!   has to repeat them.
//! - [`Refusal`] reads the errors of the published client.
//!
//! Nothing here sleeps, and nothing is left behind: each database is dropped with its world, and the private Postgres
//! ends with the process, however that ends.

mod answer;
mod cable;
mod caller;
mod database;
mod document;
mod grammar;
mod laws;
mod metrics;
mod postgres;
mod published;
mod raw;
mod server;
mod supervisor;
mod tap;
mod tests;
mod world;

use std::future::Future;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub(crate) use answer::Answer;
pub(crate) use caller::{Call, Caller};
pub(crate) use database::Database;
pub(crate) use grammar::{NOBODY, ids, text, viewers_of};
pub(crate) use postgres::write_signing_key;
pub(crate) use published::{Change, Refusal, Wish};
pub(crate) use raw::Line;
pub(crate) use world::{Agent, World};

/// Runs asynchronous work from a test, which is a plain function because the published client blocks.
///
/// One runtime serves every world of the process: threads of its own for each would cost more than the tests.
pub(crate) fn wait<F: Future>(work: F) -> F::Output {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
        })
        .block_on(work)
}

/// How long a state may take to come about before a test gives up. Far more than it takes on a slow machine.
const TEST_TIMEOUT: Duration = Duration::from_mins(1);

/// Returns when something is so, and fails the test if it does not come about.
#[track_caller]
pub(crate) fn eventually(state: &str, mut reached: impl FnMut() -> bool) {
    let given_up = Instant::now() + TEST_TIMEOUT;
    while !reached() {
        assert!(Instant::now() < given_up, "gave up waiting until {state}");
        std::thread::yield_now();
    }
}
