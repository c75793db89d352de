//! Comparing some aggregates of one type, in one snapshot.

use std::collections::HashSet;
use std::error::Error;

use identity_domain::{Kind, State};
use identity_log::scan::{AggregateSet, Scan};
use identity_log::second_reader::{Loaded, SecondReader};
use identity_log::{ReadError, Recorded, read};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::difference::{Comparison, Difference};
use super::live::{LiveTables, snapshot};
use crate::job_error::JobError;
use crate::table::{self, DifferenceKind, RowCheck};

/// Compares the events of aggregates as both readers read them, and the rows of the read models with the folded events.
pub(super) async fn compare(
    pool: &PgPool,
    tables: &LiveTables,
    kind: Kind,
    ids: Vec<String>,
    found: &mut Comparison,
) -> Result<(), JobError> {
    let tables = tables.of(kind);
    let ids = if tables.iter().any(|table| table.is_by_uuid()) { only_uuids(kind, ids, found) } else { ids };
    let mut snapshot = snapshot(pool, &tables).await?;
    let upto = read::head(&mut *snapshot).await?;
    let set = AggregateSet { kind, ids, upto };
    let mut checks = vec![];
    for table in tables {
        checks.push((table.name(), table.check(&mut snapshot, &set).await?));
    }
    let mut readers = Readers { pool, set: &set, present: None, differing: HashSet::new(), found };
    readers.read(&mut snapshot, &mut checks).await?;
    for (name, check) in checks {
        readers.name_rows(name, check.finish()?);
    }
    Ok(snapshot.commit().await?)
}

/// The ids that are UUIDs. The others are differences: their aggregates can have no rows.
fn only_uuids(kind: Kind, ids: Vec<String>, found: &mut Comparison) -> Vec<String> {
    let is_uuid = |id: &String| id.parse::<Uuid>().is_ok_and(|uuid| uuid.to_string() == *id);
    let (uuids, others): (Vec<String>, Vec<String>) = ids.into_iter().partition(is_uuid);
    found.extend(others.iter().map(|id| Difference::of(kind, id, "its id is not a UUID")));
    uuids
}

/// The two readers side by side.
struct Readers<'a> {
    pool: &'a PgPool,
    set: &'a AggregateSet,
    present: Option<Present>,
    /// The aggregates whose events differ. Their rows are not compared.
    differing: HashSet<String>,
    found: &'a mut Comparison,
}

/// The aggregate that is being read.
struct Present {
    id: String,
    sequence: i64,
    state: State,
    second: SecondReader,
}

impl Readers<'_> {
    /// Reads the events of all aggregates, and hands those that both readers read alike to `checks`.
    async fn read(
        &mut self,
        connection: &mut PgConnection,
        checks: &mut [(&'static str, Box<dyn RowCheck>)],
    ) -> Result<(), JobError> {
        let mut scan = Scan::of(connection, self.set).await?;
        loop {
            match scan.next().await {
                Ok(None) => return self.end().await,
                Ok(Some(event)) => {
                    if self.take(&event).await? {
                        for (_, check) in &mut *checks {
                            check.take(&event)?;
                        }
                    }
                }
                Err(ReadError::Undecodable { position, source }) => {
                    self.name_undecodable(position, &cause_of(&source)).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Compares an event of our reader with the one of the second reader. Returns false if this or an earlier event of the
    /// aggregate differs.
    async fn take(&mut self, event: &Recorded) -> Result<bool, JobError> {
        self.found.events += 1;
        self.turn_to(&event.aggregate_id).await?;
        let Some(present) = self.present.as_mut().filter(|present| !self.differing.contains(&present.id))
        else {
            return Ok(false);
        };
        let how = present.difference(event).await?;
        if let Some(how) = &how {
            self.name(&event.aggregate_id, how);
        }
        Ok(how.is_none())
    }

    /// Makes this aggregate the present one.
    async fn turn_to(&mut self, id: &str) -> Result<(), JobError> {
        if self.present.as_ref().is_some_and(|present| present.id == id) {
            return Ok(());
        }
        self.end().await?;
        let AggregateSet { kind, upto, .. } = self.set;
        let second = SecondReader::new(self.pool, *kind, id, *upto);
        self.present = Some(Present { id: id.to_owned(), sequence: 0, state: State::initial(*kind), second });
        Ok(())
    }

    /// Ends the present aggregate.
    async fn end(&mut self) -> Result<(), JobError> {
        let Some(mut present) = self.present.take() else { return Ok(()) };
        self.found.aggregates += 1;
        if !self.differing.contains(&present.id)
            && let Some(how) = present.difference_at_end().await?
        {
            self.name(&present.id, &how);
        }
        Ok(())
    }

    fn name(&mut self, id: &str, how: &str) {
        self.differing.insert(id.to_owned());
        self.found.extend([Difference::of(self.set.kind, id, how)]);
    }

    /// Names an event that our reader cannot decode.
    async fn name_undecodable(&mut self, position: i64, cause: &str) -> Result<(), JobError> {
        let query = sqlx::query_as("select aggregate_id, sequence from events where position = $1");
        let (id, sequence): (String, i64) = query.bind(position).fetch_one(self.pool).await?;
        self.found.events += 1;
        self.turn_to(&id).await?;
        if !self.differing.contains(&id) {
            self.name(&id, &format!("its event {sequence}, at position {position}, cannot be read: {cause}"));
        }
        Ok(())
    }

    /// Names the rows of a read model that differ from the folded events.
    fn name_rows(&mut self, read_model: &str, rows: Vec<table::Difference>) {
        let kind = self.set.kind;
        let named = rows.into_iter().filter_map(|row| {
            let aggregate_id = row.id.split('/').next().unwrap_or_default();
            (!self.differing.contains(aggregate_id))
                .then(|| Difference::of(kind, aggregate_id, in_words(read_model, &row)))
        });
        self.found.extend(named);
    }
}

/// The error and its cause.
fn cause_of(error: &dyn Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

fn in_words(read_model: &str, row: &table::Difference) -> String {
    let table::Difference { id, kind } = row;
    match kind {
        DifferenceKind::Missing => format!("{read_model} lacks the row {id}"),
        DifferenceKind::Extra => format!("{read_model} has the row {id}, which no event has made"),
        DifferenceKind::Different => format!("{read_model} has another row {id} than its events make"),
    }
}

impl Present {
    /// How the next event of our reader differs from the next one of the second reader.
    async fn difference(&mut self, event: &Recorded) -> Result<Option<String>, JobError> {
        let (expected, sequence) = (self.sequence + 1, event.sequence);
        if sequence != expected {
            let position = event.position;
            return Ok(Some(format!(
                "its event {expected} is missing: the one at position {position} is its event {sequence}"
            )));
        }
        self.sequence = sequence;
        self.state.evolve(&event.event);
        Ok(match self.second.next(sequence).await? {
            None => Some(format!("postgres-es does not read its event {sequence}")),
            Some(loaded) if loaded.sequence != sequence => {
                Some(format!("postgres-es reads its event {} in place of {sequence}", loaded.sequence))
            }
            Some(Loaded { event: Err(why), .. }) => {
                Some(format!("postgres-es cannot load it: its event {sequence}: {why}"))
            }
            Some(Loaded { event: Ok(theirs), .. }) if theirs != event.event => {
                Some(format!("its event {sequence} is another one when postgres-es reads it"))
            }
            Some(_) => None,
        })
    }

    /// How the aggregate differs when our reader has read all of its events.
    async fn difference_at_end(&mut self) -> Result<Option<String>, JobError> {
        if let Some(more) = self.second.next(self.sequence + 1).await? {
            return Ok(Some(format!(
                "postgres-es reads its event {}, this software does not",
                more.sequence
            )));
        }
        let is_same = self.second.state() == self.state;
        Ok((!is_same).then(|| "the same events lead to another state".to_owned()))
    }
}
