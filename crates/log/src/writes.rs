//! What a batch writes, gathered into one statement: every statement is a round trip during which nobody else can write.

use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, Encode, PgConnection, Postgres, Type};
use time::OffsetDateTime;

use crate::draft::DraftedOn;

/// Takes the turn of a batch if all is as it was drafted on: nobody has written since, nor is about to, no read model was made
/// anew, and it is not too late for the moments in it. Then the row of `log_head` stays locked until all of the statement
/// is committed.
///
/// The clock is read once the row is locked, so that whoever held it before saw an earlier one. It does not wait for the
/// row: who waited would hold the tables that it is going to write, and who lets tables change places locks them after it.
const TAKE_TURN: &str = "
    update log_head set position = $1, recorded_at = $2
    where position = (
        with head as materialized (
            select position from log_head where position = $3 and generation = $4 for update skip locked
        )
        select position from head where clock_timestamp() < $5
    )
    returning position";

/// The same within a transaction that holds the lock, where nothing but a defect can have moved the head.
const HAVE_TURN: &str = "
    update log_head set position = $1, recorded_at = $2
    where position = $3 and generation = $4 and $5::timestamptz is not null
    returning position";

/// SQL with its arguments.
#[derive(Debug, Default)]
pub struct Statement {
    text: String,
    arguments: PgArguments,
    /// How many arguments the text names.
    named: usize,
}

impl Statement {
    /// SQL in which every `?` stands for an argument, in their order.
    pub fn new(sql: &str) -> Self {
        let mut statement = Self::default();
        statement.push(sql);
        statement
    }

    /// Adds SQL in which every `?` stands for one argument more.
    fn push(&mut self, sql: &str) {
        for (place, piece) in sql.split('?').enumerate() {
            if place > 0 {
                self.named += 1;
                self.text.push('$');
                self.text.push_str(&self.named.to_string());
            }
            self.text.push_str(piece);
        }
    }

    /// Gives the next argument.
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

/// Statements that take effect together. All parts see the database as it was before, so they touch different rows.
#[derive(Debug, Default)]
pub struct Writes {
    /// What must be out of the way first.
    before: Vec<Statement>,
    parts: Statement,
    count: usize,
}

impl Writes {
    /// What is written on this drafted_on, and where the log ends then.
    pub(crate) fn of_batch(
        drafted_on: &DraftedOn,
        position: i64,
        recorded_at: OffsetDateTime,
    ) -> Result<Self, sqlx::Error> {
        let mut writes = Self::default();
        writes.parts.bind(position)?.bind(recorded_at)?;
        writes.parts.bind(drafted_on.position)?.bind(drafted_on.generation)?.bind(drafted_on.latest)?;
        writes.parts.named = 5;
        Ok(writes)
    }

    /// Adds a part. In its SQL every `?` stands for an argument, which the caller binds; it writes nothing unless there is a
    /// row in `turn`.
    pub fn part(&mut self, sql: &str) -> &mut Statement {
        self.count += 1;
        self.parts.text.push_str(&[", part_", &self.count.to_string(), " as ("].concat());
        self.parts.push(sql);
        self.parts.text.push(')');
        &mut self.parts
    }

    /// Adds a statement that must be over before any part begins.
    pub fn before(&mut self, statement: Statement) {
        self.before.push(statement);
    }

    /// Whether one statement says it all.
    pub(crate) fn are_one(&self) -> bool {
        self.before.is_empty()
    }

    /// Writes all of it in the transaction of whoever brings a read model up to date.
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

    /// Writes a batch in a transaction that holds the lock; whether the log ended where it should.
    pub(crate) async fn execute_under_lock(
        mut self,
        connection: &mut PgConnection,
    ) -> Result<bool, sqlx::Error> {
        for statement in std::mem::take(&mut self.before) {
            statement.execute(connection).await?;
        }
        self.execute_with(HAVE_TURN, connection).await
    }

    /// Writes and commits a batch that is one statement; whether it could take its turn.
    pub(crate) async fn take_turn(self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        self.execute_with(TAKE_TURN, connection).await
    }

    /// Whoever listens is told once.
    async fn execute_with(self, turn: &str, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let Statement { text, arguments, .. } = self.parts;
        let text = format!(
            "with turn as ({turn}){text} select pg_notify('identityd_log', position::text) from turn"
        );
        Ok(sqlx::query_with(&text, arguments).fetch_optional(connection).await?.is_some())
    }
}
