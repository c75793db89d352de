//! `identityd audit replay`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use identity_domain::json;
use identity_projections::second_reader;
use sqlx::PgPool;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use identityd::audit::replay::{self, Presence, Replay, ReplayRange, ReplayedEvent};
use identityd::database::IfMissing;
use identityd::operator::Operator;

use super::super::output::{Output, note};
use super::super::{Installation, comparison, with_database};

#[derive(Debug, Args)]
pub(crate) struct ReplayFlags {
    /// An export to read; without one, the database is read
    #[arg(required_unless_present = "org", conflicts_with = "org")]
    file: Option<PathBuf>,

    /// Id or name of the organization, to read the database
    #[arg(long)]
    org: Option<String>,

    /// Id of the identity, or any handle that it ever had. Without it, all aggregates of the organization are replayed, and
    /// compared with what cqrs-es and postgres-es load and with the read models
    #[arg(long, value_name = "HANDLE|ID", required_unless_present = "org")]
    identity: Option<String>,

    /// Only what happened from this moment on, in RFC 3339. A long history in the database is then read from the last stored
    /// state before it
    #[arg(long, value_name = "TIME", requires = "identity")]
    since: Option<String>,

    /// Only what happened until this moment, in RFC 3339
    #[arg(long, value_name = "TIME", requires = "identity")]
    until: Option<String>,

    /// With --since, begin with the first event, without trust in stored states
    #[arg(long, requires = "since")]
    from_first_event: bool,
}

pub(super) async fn run(
    flags: &ReplayFlags,
    installation: &Installation,
    output: Output,
) -> anyhow::Result<()> {
    let ReplayFlags { file, org, identity, since, until, from_first_event } = flags;
    let [since, until] = [since, until].map(|text| text.as_deref().map(moment).transpose());
    let part = ReplayRange { since: since?, until: until?, from_first_event: *from_first_event };
    if let (Some(file), Some(identity)) = (file, identity) {
        return show(&replay::file(file, identity, part)?, output);
    }
    let org = org.as_deref().unwrap_or_default();
    with_database(&installation.database, IfMissing::Refuse, async |database| {
        database.migrate_if_begun().await?;
        let pool = database.pool();
        let id = Operator::new(pool.clone(), installation.signing.clone()).find_organization(org).await?;
        match identity {
            Some(identity) => show(&replay::database(pool, &id, identity, part).await?, output),
            None => compare(pool, &id, output).await,
        }
    })
    .await
}

fn show(replay: &Replay, output: Output) -> anyhow::Result<()> {
    let Replay { steps, doubt } = replay;
    if let Some(why) = doubt {
        note(&format!("this may not be the whole life: {why}"));
    }
    for step in steps {
        output.print_lines(&json::of(step)?, &lines(step))?;
    }
    Ok(())
}

/// Replays all aggregates of an organization, and compares them with what the second reader loads.
async fn compare(pool: &PgPool, organization_id: &str, output: Output) -> anyhow::Result<()> {
    let compared = second_reader::compare_organization(pool, organization_id).await;
    comparison::print(&compared.context("the history could not be replayed")?, output)
}

fn moment(text: &str) -> anyhow::Result<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).with_context(|| format!("{text} is no time in RFC 3339"))
}

/// An event in one line, then the identity after it with what has changed marked.
fn lines(step: &ReplayedEvent) -> Vec<String> {
    let event = &step.event;
    let head = format!(
        "{} {} {} by {}",
        event.organization_sequence, event.recorded_at, event.event_type, step.actor
    );
    let state = match (step.presence, &step.state) {
        (Presence::Present, Some(state)) => state,
        (Presence::Gone, _) => return vec![head, "  (gone)".to_owned()],
        (Presence::Unknown | Presence::Present, _) => {
            return vec![head, "  (unknown: its birth is not in this file)".to_owned()];
        }
    };
    let line = |(pointer, value): (String, serde_json::Value)| {
        let mark = if step.changed.contains(&pointer) { '*' } else { ' ' };
        format!("{mark} {}: {value}", pointer.trim_start_matches('/'))
    };
    [head].into_iter().chain(replay::fields(state).into_iter().map(line)).collect()
}
