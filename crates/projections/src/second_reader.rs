//! The comparison of two readers. postgres-es and cqrs-es load aggregates from the log ([`identity_log::second_reader`]), our own
//! reader folds the same events, and the rows of the live read models are those that our folds make of these events.
//!
//! At most a page of aggregates is compared at a time, in one snapshot, and their events are not collected. So a comparison needs
//! little memory, writes can go on, and a read model can be rebuilt meanwhile.

mod batch;
mod difference;
mod live;
mod selection;

use identity_domain::Kind;
use identity_log::count::Numbering;
use identity_log::{history, read};
use sqlx::PgPool;

use crate::job_error::JobError;
use batch::compare;
use live::LiveTables;
use selection::Draws;

pub use difference::{Comparison, Difference, LeftOut};
pub use selection::MAX_SAMPLED_EVENTS;

/// Compares all aggregates, and finds positions without an event and rows without an aggregate.
pub async fn compare_all(pool: &PgPool) -> Result<Comparison, JobError> {
    let tables = LiveTables::find(pool).await?;
    let mut found = tables.begin();
    let upto = read::head(pool).await?;
    found.extend(selection::gaps(pool, Numbering::Log, upto).await?);
    found.extend(selection::unknown_aggregates(pool, Numbering::Log).await?);
    for kind in Kind::ALL {
        let mut after = String::new();
        while !found.is_cut_off {
            let ids = selection::page(pool, kind, &after, upto).await?;
            let Some(last) = ids.last() else { break };
            after.clone_from(last);
            compare(pool, &tables, kind, ids, &mut found).await?;
        }
    }
    if !found.is_cut_off {
        found.extend(selection::rows_without_events(pool, &tables, Numbering::Log).await?);
    }
    Ok(found)
}

/// The same for the aggregates of one organization.
pub async fn compare_organization(pool: &PgPool, organization_id: &str) -> Result<Comparison, JobError> {
    let tables = LiveTables::find(pool).await?;
    let mut found = tables.begin();
    let upto = history::head(pool, organization_id).await?;
    let place = Numbering::History(organization_id);
    found.extend(selection::gaps(pool, place, upto).await?);
    found.extend(selection::unknown_aggregates(pool, place).await?);
    let mut after = 0;
    while !found.is_cut_off {
        let born = selection::page_of_organization(pool, organization_id, after, upto).await?;
        let Some(last) = born.last() else { break };
        after = last.organization_sequence;
        for (kind, ids) in selection::by_kind(born) {
            compare(pool, &tables, kind, ids, &mut found).await?;
        }
    }
    if !found.is_cut_off {
        found.extend(selection::rows_without_events(pool, &tables, place).await?);
    }
    Ok(found)
}

/// Compares up to `size` aggregates, to which events at random positions belong. It reads neither the whole log nor an aggregate
/// with more than [`MAX_SAMPLED_EVENTS`] events.
pub async fn compare_sample(pool: &PgPool, size: u32) -> Result<Comparison, JobError> {
    let tables = LiveTables::find(pool).await?;
    let mut found = tables.begin();
    let mut draws = Draws::of(size, read::head(pool).await?);
    while let Some(drawn) = draws.next(pool, &mut found).await? {
        if found.is_cut_off {
            break;
        }
        for (kind, ids) in selection::by_kind(drawn) {
            compare(pool, &tables, kind, ids, &mut found).await?;
        }
    }
    Ok(found)
}
