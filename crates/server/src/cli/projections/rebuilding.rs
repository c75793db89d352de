//! Rebuilding read models, one after the other.

use std::sync::Arc;

use identity_log::count::EventCounts;
use identity_postgres::stop::Stop;
use identity_projections::Table;
use identity_projections::rebuild::{self, JobError, Report};
use indicatif::MultiProgress;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;

use super::super::output::Output;
use super::progress::Reporter;

/// How read models are rebuilt, and where it is told.
pub(in crate::cli) struct Rebuilding<'a> {
    options: &'a PgConnectOptions,
    settings: rebuild::Settings,
    output: Output,
    /// The bars of all jobs that run at the same time.
    bars: MultiProgress,
}

impl<'a> Rebuilding<'a> {
    pub(in crate::cli) fn new(
        options: &'a PgConnectOptions,
        settings: rebuild::Settings,
        output: Output,
    ) -> Self {
        Self { options, settings, output, bars: MultiProgress::new() }
    }

    /// Rebuilds one table after the other. `counts` are those of the events that are counted already. `stop` stops the present
    /// rebuild; the error lists the tables that remain.
    pub(in crate::cli) async fn run(
        &self,
        tables: &[Arc<dyn Table>],
        mut counts: EventCounts,
        mut stop: Stop,
    ) -> anyhow::Result<()> {
        let mut remaining = tables.iter();
        while let Some(table) = remaining.next() {
            let (model, told) = (Arc::clone(table), stop.told());
            let reporter = Reporter::start(table.name(), &self.bars);
            let sender = reporter.sender();
            let job = rebuild::rebuild_counted(self.options, model, &mut counts, self.settings, sender, told);
            let outcome = job.await;
            let reached = reporter.finish().await;
            match outcome {
                Ok(report) => self.bars.suspend(|| print_report(table.name(), &report, self.output))?,
                Err(error) => {
                    let message = what_remains(table.name(), &error, &reached, remaining.as_slice());
                    return Err(anyhow::Error::new(error).context(message));
                }
            }
        }
        Ok(())
    }
}

fn what_remains(name: &str, error: &JobError, reached: &str, untouched: &[Arc<dyn Table>]) -> String {
    let fate = if matches!(error, JobError::Doubt(_)) {
        "was perhaps not rebuilt"
    } else {
        "was not rebuilt; the live table is as it was, and the next run starts over"
    };
    let rest: Vec<&str> = untouched.iter().map(|table| table.name()).collect();
    let rest = if rest.is_empty() { String::new() } else { format!("; not begun: {}", rest.join(", ")) };
    format!("{name} {fate} ({reached}){rest}")
}

fn print_report(name: &str, report: &Report, output: Output) -> anyhow::Result<()> {
    let Report { events, rows, position, pause } = report;
    let pause_ms = pause.map(|pause| pause.as_secs_f64() * 1000.0);
    let outcome = pause_ms
        .map_or_else(|| "ready, not live".to_owned(), |pause| format!("live, writers waited {pause:.1} ms"));
    let json = json!({
        "name": name, "events": events, "rows": rows, "position": position,
        "live": pause.is_some(), "pause_ms": pause_ms,
    });
    output
        .print(&json, &format!("{name}: {rows} rows from {events} events, at position {position}: {outcome}"))
}
