//! The tools of the tests: a service of their own, and callers that send it requests.
//!
//! - [`World`] is one service over a database of its own, with organizations and agents in it.
//! - [`Caller`] has a key, or none. It uses the published client (`client()`), plain HTTP (`get`, `post`, `patch`,
//!   `delete`), or raw bytes (`raw`) for requests that no HTTP client sends.
//! - [`Answer`] is an answer with assertions. Every answer is checked against the rules in `laws` and against the OpenAPI
//!   document (`document`), so no test has to repeat that.
//! - [`Refusal`] reads the errors of the published client.
//!
//! Nothing here sleeps, and nothing is left behind: each database is dropped with its world, and the private Postgres
//! ends with the process, even if the process is killed.

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
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) use answer::Answer;
pub(crate) use caller::{Call, Caller};
pub(crate) use database::Database;
pub(crate) use grammar::{NOBODY, ids, text, viewers_of};
pub(crate) use postgres::write_signing_key;
pub(crate) use published::{Change, Refusal, Wish};
pub(crate) use raw::Line;
pub(crate) use tap::{BATCH, Tap};
pub(crate) use world::{Agent, World};

/// Runs asynchronous work in a test. Tests are plain functions, because the published client blocks.
///
/// All tests of the process share one runtime: starting threads for each of them would take longer than the tests.
pub(crate) fn wait<F: Future>(work: F) -> F::Output {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
        })
        .block_on(work)
}

/// How long a test waits for a state before it fails. Far more than a slow machine needs.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_mins(1);

/// Waits until `reached` returns true, and fails the test after a minute.
#[track_caller]
pub(crate) fn eventually(state: &str, mut reached: impl FnMut() -> bool) {
    let given_up = Instant::now() + TEST_TIMEOUT;
    while !reached() {
        assert!(Instant::now() < given_up, "gave up waiting until {state}");
        std::thread::yield_now();
    }
}

/// Calls `read` for several readers at the same time, again and again, until `write` is over.
pub(crate) fn read_while(readers: &[&Caller], read: impl Fn(&Caller) + Sync, write: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in readers {
            let (read, is_over) = (&read, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    read(reader);
                }
            });
        }
        // Readers end, too, if the writer fails.
        let written = catch_unwind(AssertUnwindSafe(write));
        is_over.store(true, Ordering::Relaxed);
        written.unwrap_or_else(|failure| resume_unwind(failure));
    });
}
