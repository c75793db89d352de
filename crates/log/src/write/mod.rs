//! The write path: how commands become committed events.
//!
//! # The pipeline
//!
//! One task of the process, the [`committer`], writes to the log. It works on two batches at a time: while batch n is being
//! written, batch n+1 is gathered and drafted.
//!
//! ```text
//!  Log::append ── Job ──▶ queue.rs: at most 4,096 commands wait
//!                            │
//!                            ▼ gather (pipeline.rs): at most 256 commands
//!                         batch n+1                       batch n
//!                            │                               │ observers: `sending`
//!      reader connection     │ draft (draft.rs): load,       ▼                                   writer connection
//!                            │ decide, encode, fold       one statement (statement.rs): compare-and-set on `log_head`.
//!                            ▼                            Sending it is the commit.
//!                         draft n+1                          │
//!                            │ waits for batch n             ├─ 1 row: committed ───▶ observers: `committed` (the cache);
//!                            │                               │                        notification (notifier.rs); answers.
//!                            │                               │                        Draft n+1 is written next.
//!                            │                               │
//!                            │                               ├─ 0 rows: not valid ──▶ observers: `not_written`.
//!                            │                               │                        Batch n is drafted again under the lock.
//!                            │                               │                        Draft n+1 is discarded, and batch n+1
//!                            │                               │                        drafted again under the lock.
//!                            ▼                               │
//!                         is written as batch n is           └─ error, time limit ──▶ observers: `not_written` or
//!                                                                                     `outcome_unknown`; answers, see below.
//!                                                                                     Draft n+1 is discarded, as above.
//!
//!  Under the lock, on the writer connection:
//!
//!      begin; select … from log_head for update ──▶ if another process is the sole one: rollback, recall it (sole.rs),
//!         │                                         and begin again
//!         ▼
//!      the clock has not jumped (clock_jump.rs)
//!         ▼
//!      the draft is still valid; otherwise the batch is drafted here
//!         ▼
//!      observers: `sending`
//!         ▼
//!      the statement; then numbers of the pool; then the answer for each `Idempotency-Key` is composed and stored
//!         ▼
//!      COMMIT ──▶ observers, notification and answers as above
//! ```
//!
//! **Gathering.** Clients that were answered together send their next commands together, so the first command waits for the
//! others: while another batch is being written, for as many commands as the last batch had; otherwise for three quarters of that
//! many, and for 1 ms at most.
//!
//! A bulk command, which may write much, is a batch of its own. While bulk commands and others wait, their batches alternate, and
//! the bulk commands of several organizations take turns.
//!
//! A *draft* is a batch that is decided and not written: the answers, the events, and the SQL. A batch context
//! ([`batch_context`]) contains what its commands need to know. [`last_batch`] carries over from one batch to the
//! next: the head of the log, states of aggregates, claims on names, idempotency keys, and the folds of the read
//! models. A new writer connection may lead to another server, so the last batch is forgotten with the old connection.
//!
//! # How an answer is made
//!
//! While a batch is drafted, the read models hand out, for each command, what they have made of its aggregate up to that command
//! ([`Made`](crate::Made)): its row, and the access rows if the answer shows them. An answer is composed of this and of the events
//! of the command, and nothing is read for it. So it shows the state right after its own command, whatever others write.
//!
//! # When a batch is drafted ahead
//!
//! While batch n is being written, batch n+1 is drafted on the state that batch n will leave. This is possible if all of
//! this is true (`LastBatch::can_draft_ahead`):
//!
//! - No other process wrote between the last two batches (`no_other_writer`).
//! - The database clock was read less than 1 s ago: the draft advances that reading by the time that passed.
//! - The commands look up everything by key. A phone number, all identities and all secrets of an organization are
//!   not looked up by key.
//!
//! # When a draft is valid
//!
//! A draft is valid if all of this is true when it is written ([`DraftedOn`](head::DraftedOn); the SQL is in
//! [`statement`]):
//!
//! - `log_head.position` is unchanged, so nothing that the draft read has changed.
//! - `log_head.generation` is unchanged, so no read model was rebuilt.
//! - No other process is the sole one ([`sole`](crate::sole)). Under the lock it is recalled first.
//! - The database clock is less than 50 ms past the moment of the draft.
//! - No caller of the batch has abandoned its command.
//! - For the one statement: nobody else has `log_head` locked. The statement does not wait for the lock
//!   (`skip locked`): a waiting statement would already hold locks on the tables that it writes. A cut-over locks `log_head`
//!   first and the tables second, so waiting could deadlock.
//!
//! # What is written under the lock
//!
//! These batches are written in a transaction that begins with `select … from log_head for update`, on the writer
//! connection:
//!
//! - the first batches of a process or of a writer connection, and every batch that cannot be drafted ahead;
//! - a batch whose draft was not valid, and the batch that was drafted on top of it; both are drafted again under the lock;
//! - a batch that is not one statement: it stores an answer for an `Idempotency-Key`, takes or releases phone numbers
//!   ([`number_pool`]), or passes a handle from one identity to another;
//! - a batch without events: it takes the lock to know that the log has not moved since it was drafted.
//!
//! # What happens when a step fails
//!
//! | Step | Result |
//! |---|---|
//! | Drafting ahead fails | The batch is drafted under the lock. |
//! | The one statement finds an invalid draft | Nothing is written. The batch is drafted again under the lock. |
//! | The clock of the database has jumped ahead (`clock_jump.rs`), seen under the lock | Every caller of the batch gets `Unavailable`. |
//! | Postgres is unavailable, or a time limit is reached, before the commit is sent | Every caller of the batch gets `Unavailable`. The next batch opens a new connection. |
//! | The connection breaks, or our time limit is reached, after the commit is sent; for the one statement that is: after it is sent | Every caller of the batch gets `OutcomeUnknown`. |
//! | COMMIT took longer than 250 ms | It is confirmed by one more commit: Postgres reports success, too, if somebody has cancelled the wait for a standby. If that fails: `OutcomeUnknown`. |
//! | Postgres reports an error after the commit is sent | It has rolled back: `Unavailable`, or as in the next line. |
//! | Postgres refuses a statement | Nothing is committed. Each command is tried alone under the lock. A command that fails alone gets `Failed`. |
//! | The task that writes a batch panics | The observers are told `outcome_unknown`, and its callers get `OutcomeUnknown`. |
//! | The committer itself panics, which gathers, drafts and locks | The batch that is being written is written and answered by its own task. All other commands that wait get `OutcomeUnknown`, although nothing of them was written; later ones get `Unavailable` until the process is started again. |
//!
//! # Why nothing is lost that was acknowledged
//!
//! A caller is answered only after COMMIT returned. If the process dies
//!
//! - between `Log::append` and the statement (queue, gather, draft, `sending`): Postgres knows nothing of the batch, or only of a
//!   transaction that it rolls back.
//! - while the one statement runs: Postgres commits it or rolls it back as a whole.
//! - under the lock, before COMMIT arrives: Postgres rolls back when the connection breaks. That releases the lock on `log_head`.
//!   If nothing breaks the connection, since the machine is gone, the time limits of the session do (`connection.rs`).
//! - after COMMIT, before the observers, the answers or the notification: the events are in the log. Other processes, which
//!   were not notified, see them when they look. The cache is gone with the process.
//!
//! The callers get no answer and cannot know whether the write was committed. They can repeat the request; with an
//! `Idempotency-Key`, whose answer is stored in the transaction of the write, it is carried out once.

mod aggregates;
mod batch;
mod batch_context;
mod batch_needs;
mod ciphertexts;
mod clock_jump;
pub(crate) mod committer;
pub(crate) mod connection;
pub(crate) mod decision_state;
mod deps;
mod draft;
pub(crate) mod head;
pub mod idempotency;
mod last_batch;
pub mod metrics;
mod names;
pub(crate) mod notifier;
mod number_pool;
mod pipeline;
pub(crate) mod queue;
pub(crate) mod recent;
mod record;
pub(crate) mod statement;
mod subscriptions;
pub(crate) mod trial;
