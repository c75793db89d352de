//! What one key, one organization or one address can take from others. Each test has a hostile client that takes as
//! much as it can get, and a victim that is answered all the same. The tests count work, and do not measure time.

mod bulk;
mod connections;
mod followers;
mod quotas;
mod requests;
mod stalled;

use sqlx::{Postgres, Transaction};

use crate::harness::{Answer, World, wait};

/// A lock on the log. Nothing is written until this is dropped.
pub(super) struct Locked(Option<Transaction<'static, Postgres>>);

pub(super) fn locked(world: &World) -> Locked {
    let mut transaction = wait(world.database().pool().begin()).unwrap();
    wait(sqlx::query("select from log_head for update").execute(&mut *transaction)).unwrap();
    Locked(Some(transaction))
}

impl Drop for Locked {
    fn drop(&mut self) {
        if let Some(transaction) = self.0.take() {
            wait(transaction.rollback()).unwrap();
        }
    }
}

/// Asserts that a request was refused for now, and returns the seconds to wait.
#[track_caller]
pub(super) fn refused_for_now(answer: Answer, code: &str) -> u32 {
    let wait = answer.headers["retry-after"].parse().unwrap();
    assert_eq!(answer.json()["code"], code, "{answer}");
    answer.refused(429);
    wait
}
