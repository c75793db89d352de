//! Which aggregates are compared. Also what a comparison of aggregates cannot find: places of the log without an event, and rows
//! whose aggregate has no event.

use std::collections::{BTreeMap, HashSet};

use identity_domain::Kind;
use identity_log::count::{self, Numbering};
use sqlx::{FromRow, PgPool};

use super::difference::{Comparison, Difference, LeftOut};
use super::live::LiveTables;
use crate::job_error::JobError;
use crate::table::Table;

/// How many aggregates are compared in one snapshot.
const AGGREGATES_PER_BATCH: i64 = 200;

/// How many differences of one sort are read: one more than a comparison lists, so that it knows of more.
const MAX_NAMED: i64 = 10_001;

/// An aggregate with more events than that is left out of a sample.
pub const MAX_SAMPLED_EVENTS: i64 = 1_000;

/// A sample chooses at most so many positions for each aggregate that it wants. In a log with few aggregates, most positions
/// belong to aggregates that it already has.
const DRAWS_PER_AGGREGATE: i64 = 10;

/// An aggregate, with the place of its first event in the history of its organization.
#[derive(Debug, FromRow)]
pub(super) struct Born {
    aggregate_type: String,
    aggregate_id: String,
    pub(super) organization_sequence: i64,
}

/// The next ids of aggregates of a type that have events up to a position. One look-up in the index for each, so an aggregate
/// with many events costs no more.
pub(super) async fn page(pool: &PgPool, kind: Kind, after: &str, upto: i64) -> Result<Vec<String>, JobError> {
    let ids = sqlx::query_scalar(
        r#"with recursive page (id, place) as (
               select $2::text collate "C", 0::bigint
               union all
               select (select aggregate_id from events
                       where aggregate_type = $1 and aggregate_id > page.id and position <= $4
                       order by aggregate_id
                       limit 1),
                      place + 1
               from page
               where id is not null and place < $3
           )
           select id from page where place > 0 and id is not null order by place"#,
    )
    .bind(kind.as_str())
    .bind(after)
    .bind(AGGREGATES_PER_BATCH)
    .bind(upto)
    .fetch_all(pool)
    .await?;
    Ok(ids)
}

/// The next aggregates of an organization whose first events stand up to a place of its history, in the order of these events.
pub(super) async fn page_of_organization(
    pool: &PgPool,
    organization_id: &str,
    after: i64,
    upto: i64,
) -> Result<Vec<Born>, JobError> {
    let born = sqlx::query_as(
        "select aggregate_type, aggregate_id, organization_sequence
         from events
         where organization_id = $1 and organization_sequence > $2 and organization_sequence <= $4
           and not exists (select from events as earlier
                           where earlier.aggregate_type = events.aggregate_type and earlier.aggregate_id = events.aggregate_id
                             and earlier.sequence < events.sequence)
         order by organization_sequence
         limit $3",
    )
    .bind(organization_id)
    .bind(after)
    .bind(AGGREGATES_PER_BATCH)
    .bind(upto)
    .fetch_all(pool)
    .await?;
    Ok(born)
}

/// Aggregates by their type. Those of an unknown type are left out.
pub(super) fn by_kind(aggregates: Vec<Born>) -> BTreeMap<Kind, Vec<String>> {
    let mut found = BTreeMap::<Kind, Vec<String>>::new();
    for Born { aggregate_type, aggregate_id, .. } in aggregates {
        if let Some(kind) = Kind::parse(&aggregate_type) {
            found.entry(kind).or_default().push(aggregate_id);
        }
    }
    found
}

/// The places up to `upto` that have no event.
pub(super) async fn gaps(
    pool: &PgPool,
    place: Numbering<'_>,
    upto: i64,
) -> Result<Vec<Difference>, JobError> {
    let missing = |(first, last): (i64, i64)| Difference {
        what: place.column(),
        id: if first == last { first.to_string() } else { format!("{first} to {last}") },
        how: "no event is there".to_owned(),
    };
    Ok(count::gaps(pool, place, upto, MAX_NAMED).await?.into_iter().map(missing).collect())
}

/// The condition as SQL, whose third parameter is the id of the organization.
fn condition(place: Numbering<'_>) -> &'static str {
    if place.organization_id().is_none() { "$3::text is null" } else { "organization_id = $3" }
}

/// The events whose aggregate type this software does not know.
pub(super) async fn unknown_aggregates(
    pool: &PgPool,
    place: Numbering<'_>,
) -> Result<Vec<Difference>, JobError> {
    let query = format!(
        "select position, aggregate_type from events
         where {} and aggregate_type <> all($1)
         order by position
         limit $2",
        condition(place)
    );
    let query = sqlx::query_as(&query).bind(Kind::ALL.map(Kind::as_str)).bind(MAX_NAMED);
    let events: Vec<(i64, String)> = query.bind(place.organization_id()).fetch_all(pool).await?;
    Ok(events.iter().map(|(position, aggregate_type)| unknown(*position, aggregate_type)).collect())
}

fn unknown(position: i64, aggregate_type: &str) -> Difference {
    Difference {
        what: "position",
        id: position.to_string(),
        how: format!("its event is of the unknown aggregate type {aggregate_type}"),
    }
}

/// Rows whose aggregate has no events. Of an organization only those of the read models that name it.
pub(super) async fn rows_without_events(
    pool: &PgPool,
    tables: &LiveTables,
    place: Numbering<'_>,
) -> Result<Vec<Difference>, JobError> {
    let mut found = vec![];
    for table in tables.all() {
        if place.organization_id().is_none() || table.has_column("organization_id") {
            found.extend(rows_of(pool, table, place).await?);
        }
    }
    Ok(found)
}

async fn rows_of(
    pool: &PgPool,
    table: &dyn Table,
    place: Numbering<'_>,
) -> Result<Vec<Difference>, JobError> {
    let (name, kind, key) = (table.name(), table.selection().kind, table.id_column());
    let condition = condition(place);
    let query = format!(
        r#"select distinct {key}::text collate "C"
           from read_model.{name} as found
           where {condition}
             and not exists (select from events where aggregate_type = $1 and aggregate_id = found.{key}::text collate "C")
           limit $2"#
    );
    let query = sqlx::query_scalar(&query).bind(kind.as_str()).bind(MAX_NAMED).bind(place.organization_id());
    let ids: Vec<String> = query.fetch_all(pool).await?;
    let rows = ids
        .iter()
        .map(|id| Difference::of(kind, id, format!("{name} has a row of it, the log has no event")));
    Ok(rows.collect())
}

/// A sample ends when so many draws in a row have found no other aggregate.
const MAX_VAIN_DRAWS: u32 = 10;

/// Draws aggregates at random.
pub(super) struct Draws {
    head: i64,
    wanted: i64,
    left: i64,
    vain: u32,
    seen: HashSet<(String, String)>,
}

#[derive(Debug, FromRow)]
struct Drawn {
    position: i64,
    aggregate_type: String,
    aggregate_id: String,
    events: i64,
}

impl Draws {
    /// Draws up to `size` aggregates from a log that ends with the position `head`.
    pub(super) fn of(size: u32, head: i64) -> Self {
        let wanted = i64::from(size);
        Self { head, wanted, left: wanted * DRAWS_PER_AGGREGATE, vain: 0, seen: HashSet::new() }
    }

    /// Aggregates that were not drawn before; `None` if there are enough. Those with too many events are left out.
    pub(super) async fn next(
        &mut self,
        pool: &PgPool,
        found: &mut Comparison,
    ) -> Result<Option<Vec<Born>>, JobError> {
        let size = self.wanted.min(self.left).min(AGGREGATES_PER_BATCH);
        if size == 0 || self.head == 0 || self.vain == MAX_VAIN_DRAWS {
            return Ok(None);
        }
        self.left -= size;
        self.vain += 1;
        let mut drawn = vec![];
        for Drawn { position, aggregate_type, aggregate_id, events } in draw(pool, self.head, size).await? {
            if !self.seen.insert((aggregate_type.clone(), aggregate_id.clone())) {
                continue;
            }
            self.wanted -= 1;
            self.vain = 0;
            match Kind::parse(&aggregate_type) {
                Some(kind) if events > MAX_SAMPLED_EVENTS => {
                    found.left_out.push(LeftOut { kind, id: aggregate_id, events });
                }
                Some(_) => drawn.push(Born { aggregate_type, aggregate_id, organization_sequence: 0 }),
                None => found.extend([unknown(position, &aggregate_type)]),
            }
        }
        Ok(Some(drawn))
    }
}

/// Chooses `size` positions at random. Returns the aggregates whose events stand there, each with the sequence of its last event.
async fn draw(pool: &PgPool, head: i64, size: i64) -> Result<Vec<Drawn>, JobError> {
    let drawn = sqlx::query_as(
        "select position, aggregate_type, aggregate_id,
                (select sequence from events
                 where aggregate_type = drawn.aggregate_type and aggregate_id = drawn.aggregate_id
                 order by sequence desc
                 limit 1) as events
         from (select min(position) as position, aggregate_type, aggregate_id
               from events
               where position = any(array(select 1 + floor(random() * $1)::bigint from generate_series(1, $2)))
               group by aggregate_type, aggregate_id) as drawn",
    )
    .bind(head)
    .bind(size)
    .fetch_all(pool)
    .await?;
    Ok(drawn)
}
