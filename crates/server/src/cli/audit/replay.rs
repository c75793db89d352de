//! `identityd audit replay`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use identityd::audit::replay::{self, Presence, Replay, Step};
use identityd::database::IfMissing;
use identityd::operator::Operator;

use super::super::output::{Output, note};
use super::super::{Installation, with_database};

#[derive(Debug, Args)]
pub(crate) struct ReplayFlags {
    /// An export to read; without one, the database is read
    #[arg(required_unless_present = "org", conflicts_with = "org")]
    file: Option<PathBuf>,

    /// Id or name of the organization, to read the database
    #[arg(long)]
    org: Option<String>,

    /// Id of the identity, or any handle that it ever had
    #[arg(long, value_name = "HANDLE|ID")]
    identity: String,

    /// Only what happened until this moment, in RFC 3339
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

pub(super) async fn run(
    flags: &ReplayFlags,
    installation: &Installation,
    output: Output,
) -> anyhow::Result<()> {
    let until = flags.until.as_deref().map(moment).transpose()?;
    let Replay { steps, doubt } = match (&flags.file, &flags.org) {
        (Some(file), _) => replay::file(file, &flags.identity, until)?,
        (None, org) => {
            let org = org.as_deref().unwrap_or_default();
            with_database(&installation.database, IfMissing::Refuse, async |database| {
                database.migrate_if_begun().await?;
                let id = Operator::new(database.pool().clone(), installation.signing.clone())
                    .find_organization(org)
                    .await?;
                replay::database(database.pool(), &id, &flags.identity, until).await
            })
            .await?
        }
    };
    if let Some(why) = doubt {
        note(&format!("this may not be the whole life: {why}"));
    }
    for step in &steps {
        output.print_lines(&serde_json::to_value(step)?, &lines(step))?;
    }
    Ok(())
}

fn moment(text: &str) -> anyhow::Result<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).with_context(|| format!("{text} is no time in RFC 3339"))
}

/// An event in one line, then the identity after it with what has changed marked.
fn lines(step: &Step) -> Vec<String> {
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
