//! The SQL of a batch, gathered into one statement. Every further statement would be a round trip during which
//! `log_head` stays locked.
//!
//! The statement has this form, where each `part` is an `insert`, `update` or `delete` that does nothing if `turn` is
//! empty:
//!
//! ```sql
//! with turn as (update log_head … where <the draft is valid> returning position),
//!      part_1 as (…), part_2 as (…), …
//! select position from turn
//! ```
//!
//! Some parts are counted: the statement fails if Postgres did not write each of their rows, because a trigger of somebody else has
//! left one out.

use std::any::Any;
use std::collections::HashMap;

use identity_domain::Kind;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, Encode, PgConnection, Postgres, Type};
use time::OffsetDateTime;
use uuid::Uuid;

use super::head::DraftedOn;
use crate::append::{Made, ShownAccess};

/// Compare-and-set on `log_head`. It updates the row if the draft is valid, and returns no row otherwise:
///
/// - `position` and `generation` are those that the draft presumes;
/// - no other process is the sole one (`sole.rs`);
/// - the clock of the database is before the deadline of the draft. The clock is read while the row is locked, so the
///   previous holder of the lock read an earlier time;
/// - nobody else has the row locked. It never waits (`skip locked`): a waiting statement would already hold locks on the
///   tables that it writes. A cut-over locks `log_head` first and the tables second, so waiting could deadlock.
///
/// The row stays locked until the whole statement is committed.
const ADVANCE_HEAD_IF_VALID: &str = "
    update log_head set position = $1, recorded_at = $2
    where position = (
        with head as materialized (
            select position from log_head
            where position = $3 and generation = $4 and coalesce(sole_process, $6) = $6
            for update skip locked
        )
        select position from head where clock_timestamp() < $5
    )
    returning position";

/// The same update in a transaction that has the row locked. Only a defect can have moved the head since the lock was
/// taken. The deadline and the process do not count: they were checked, or the draft was made, after the lock was taken.
const ADVANCE_LOCKED_HEAD: &str = "
    update log_head set position = $1, recorded_at = $2
    where position = $3 and generation = $4 and $5::timestamptz is not null and $6::uuid is not null
    returning position";

/// SQL with its arguments.
#[derive(Debug, Default)]
pub struct Statement {
    text: String,
    arguments: PgArguments,
    /// How many placeholders the text contains.
    placeholders: usize,
}

impl Statement {
    /// SQL in which every `?` is the placeholder of an argument, in order.
    pub fn new(sql: &str) -> Self {
        let mut statement = Self::default();
        statement.push(sql);
        statement
    }

    /// Appends SQL in which every `?` is the placeholder of one more argument.
    fn push(&mut self, sql: &str) {
        for (place, piece) in sql.split('?').enumerate() {
            if place > 0 {
                self.placeholders += 1;
                self.text.push('$');
                self.text.push_str(&self.placeholders.to_string());
            }
            self.text.push_str(piece);
        }
    }

    /// Binds the next argument.
    pub fn bind<'q, T>(&mut self, value: T) -> Result<&mut Self, sqlx::Error>
    where
        T: Encode<'q, Postgres> + Type<Postgres> + 'q,
    {
        self.arguments.add(value).map_err(sqlx::Error::Encode)?;
        Ok(self)
    }

    async fn execute(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query_with(&self.text, self.arguments).execute(connection).await.map(drop)
    }
}

/// The writes of a batch. All parts see the database as it was before the statement, so no two may touch the same row.
#[derive(Debug, Default)]
pub struct Writes {
    /// Statements that run before the one statement.
    before: Vec<Statement>,
    parts: Statement,
    count: usize,
    /// The parts whose rows are counted, and how many rows they have together.
    counted: Vec<usize>,
    rows: i64,
    /// The accepted commands of the batch, in order.
    commands: Vec<AcceptedCommand>,
    /// What read models hand out, by the index of the command among the accepted ones.
    made: HashMap<usize, Made>,
}

/// A command that a batch accepts, whether or not it changes something.
#[derive(Debug, Clone)]
pub struct AcceptedCommand {
    /// The type of its aggregate.
    pub kind: Kind,
    /// Its aggregate.
    pub aggregate_id: String,
    /// The last position of the log after the command.
    pub position: i64,
    /// Which access rows its answer shows.
    pub shown_access: ShownAccess,
}

impl Writes {
    /// The writes of a batch of this process that is drafted on `drafted_on`. After it the last event has `position` and
    /// `recorded_at`.
    pub(super) fn of_batch(
        drafted_on: &DraftedOn,
        process: Uuid,
        position: i64,
        recorded_at: OffsetDateTime,
    ) -> Result<Self, sqlx::Error> {
        let mut writes = Self::default();
        writes.parts.bind(position)?.bind(recorded_at)?;
        writes.parts.bind(drafted_on.position)?.bind(drafted_on.generation)?.bind(drafted_on.latest)?;
        writes.parts.bind(process)?;
        writes.parts.placeholders = 6;
        Ok(writes)
    }

    /// The writes of a batch with these accepted commands.
    pub(super) fn of_commands(self, commands: Vec<AcceptedCommand>) -> Self {
        Self { commands, ..self }
    }

    /// The accepted commands of the batch, in order. Empty in a job that catches a table up.
    pub fn commands(&self) -> &[AcceptedCommand] {
        &self.commands
    }

    /// Hands out what an aggregate has after the command with this index, such as its row.
    pub fn hand_out<T: Any + Send + Sync>(&mut self, command: usize, value: T) {
        self.made.entry(command).or_default().add(value);
    }

    /// Takes what was handed out for the command with this index.
    pub(super) fn take_made(&mut self, command: usize) -> Made {
        self.made.remove(&command).unwrap_or_default()
    }

    /// Adds a part. Every `?` in its SQL is the placeholder of an argument, which the caller binds to the returned
    /// statement. The SQL must write nothing if `turn` is empty.
    pub fn part(&mut self, sql: &str) -> &mut Statement {
        self.count += 1;
        self.parts.text.push_str(&[", part_", &self.count.to_string(), " as ("].concat());
        self.parts.push(sql);
        self.parts.text.push(')');
        &mut self.parts
    }

    /// Adds a part that inserts or replaces so many rows, and nothing else.
    pub(super) fn counted_part(&mut self, sql: &str, rows: usize) -> &mut Statement {
        self.counted.push(self.count + 1);
        self.rows += i64::try_from(rows).unwrap_or(i64::MAX);
        self.part(&[sql, " returning 1"].concat())
    }

    /// Adds a statement that is executed before the parts.
    pub fn before(&mut self, statement: Statement) {
        self.before.push(statement);
    }

    /// Whether everything is one statement.
    pub(super) fn is_one_statement(&self) -> bool {
        self.before.is_empty()
    }

    /// Executes the writes in the caller's transaction, without `log_head`. For a read model that is caught up by a job.
    pub async fn execute(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        for statement in self.before {
            statement.execute(connection).await?;
        }
        if self.count == 0 {
            return Ok(());
        }
        let Statement { text, arguments, .. } = self.parts;
        let text = format!("with turn as (select){text} select");
        sqlx::query_with(&text, arguments).execute(connection).await.map(drop)
    }

    /// Writes a batch in the transaction that has `log_head` locked. Returns whether the head was as the draft presumes.
    pub(super) async fn execute_under_lock(
        mut self,
        connection: &mut PgConnection,
    ) -> Result<bool, sqlx::Error> {
        for statement in std::mem::take(&mut self.before) {
            statement.execute(connection).await?;
        }
        self.execute_with(ADVANCE_LOCKED_HEAD, connection).await
    }

    /// Writes and commits a batch that is one statement. Returns false if the draft is not valid; then nothing is
    /// written.
    pub(super) async fn execute_if_valid(self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        self.execute_with(ADVANCE_HEAD_IF_VALID, connection).await
    }

    /// Executes all parts in one statement. Where a row is missing, it divides by zero.
    async fn execute_with(self, turn: &str, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let Self { mut parts, counted, rows, .. } = self;
        let written = counted.iter().map(|part| format!("(select count(*) from part_{part}) + "));
        let written: String = written.collect();
        parts.push(&format!(" select position / ({written} 0 = ?)::int from turn"));
        parts.bind(rows)?;
        let text = format!("with turn as ({turn}){}", parts.text);
        Ok(sqlx::query_with(&text, parts.arguments).fetch_optional(connection).await?.is_some())
    }
}
