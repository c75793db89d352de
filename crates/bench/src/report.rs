//! The report: one table of medians, one of promises, and the machine.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::results::{Bound, Results, Series, Verdict};

/// Writes `report.md`, and returns its text.
pub(crate) fn write(folder: &Path, machine: &[String], results: &Results) -> anyhow::Result<String> {
    let text = text(machine, results)?;
    let path = folder.join("report.md");
    fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(text)
}

fn text(machine: &[String], results: &Results) -> Result<String, std::fmt::Error> {
    let mut text = String::from("# Measured side by side\n\n");
    for line in machine {
        writeln!(text, "- {line}")?;
    }
    text.push_str(
        "\nContestants take turns on the same Postgres; every figure is the median of its rounds, every ratio the \
         median of the ratios of rounds that stood side by side.\n\n\
         ![Creates](create.svg)\n![Gets](get-uniform.svg)\n\n\
         | Promise | Wanted | Reached | |\n|---|---:|---:|---|\n",
    );
    for verdict in &results.verdicts {
        row_of_verdict(&mut text, verdict)?;
    }
    if !results.verdicts.iter().all(Verdict::is_kept) {
        text.push_str(
            "\nWhat keeps the service from what was missed, and what was tried: docs/performance.md.\n",
        );
    }
    text.push_str("\n| Workload | Connections | Who | A second | p50 ms | p99 ms | Rounds |\n");
    text.push_str("|---|---:|---|---:|---:|---:|---|\n");
    for series in &results.series {
        row_of_series(&mut text, series)?;
    }
    text.push('\n');
    for note in &results.notes {
        writeln!(text, "- {note}")?;
    }
    Ok(text)
}

fn row_of_verdict(text: &mut String, verdict: &Verdict) -> std::fmt::Result {
    let wanted = match verdict.bound {
        Bound::AtLeast(least) => format!("at least {least}"),
        Bound::AtMost(most) => format!("at most {most}"),
    };
    let kept = if verdict.is_kept() { "kept" } else { "**missed**" };
    writeln!(text, "| {} | {wanted} | {:.2} | {kept} |", verdict.claim, verdict.reached)
}

fn row_of_series(text: &mut String, series: &Series) -> std::fmt::Result {
    let rounds: Vec<String> = series.rounds.iter().map(|round| format!("{:.0}", round.per_second)).collect();
    writeln!(
        text,
        "| {} | {} | {} | {:.0} | {:.2} | {:.2} | {} |",
        series.workload,
        series.connections,
        series.contestant,
        series.median(|round| round.per_second),
        series.median(|round| round.p50),
        series.median(|round| round.p99),
        rounds.join(", ")
    )
}
