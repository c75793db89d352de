//! The command that verifies an export.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use identity_terminal::{Output, input};
use serde_json::json;

use crate::report::Report;
use crate::time;
use crate::verify;
use crate::witness::{self, Witnessed};

/// The longest file of a checkpoint, in bytes.
const MAX_CHECKPOINT_BYTES: u64 = 64 * 1024;

/// What `verify` is asked for.
#[derive(Debug, Args)]
pub struct VerifyFlags {
    /// The export
    file: PathBuf,

    /// Verifier key of the history, as `GET /api/v1/log/key` gives it
    #[arg(long, value_name = "VKEY")]
    key: String,

    /// File with an earlier checkpoint of the same history
    #[arg(long, value_name = "CHECKPOINT")]
    previous: Option<PathBuf>,

    /// Verifier key of a witness that must have cosigned the checkpoint, or the earlier one; may be repeated
    #[arg(long = "witness", value_name = "VKEY")]
    witnesses: Vec<String>,

    /// Accept a file with events that are not proved, and list them
    #[arg(long)]
    allow_unproved: bool,
}

impl VerifyFlags {
    /// Verifies the export. `progress` gets how many lines were read. A caller must not ignore the parts of the report that are
    /// not proved: [`VerifyFlags::print`] does not.
    pub fn verify(&self, progress: impl FnMut(u64)) -> anyhow::Result<Report> {
        // A key that cannot be read is an error before the file is read, which may take long.
        let keys = witness::keys(&self.witnesses)?;
        let previous = self.previous.as_deref().map(read).transpose()?;
        let report = verify::file(&self.file, &self.key, previous.as_deref(), progress)?;
        let notes = [Some(report.note.as_str()), previous.as_deref()];
        let witnessed = witness::require(&keys, &notes.into_iter().flatten().collect::<Vec<_>>())?;
        Ok(Report { witnessed, ..report })
    }

    /// Prints what was found out. Fails if something is not proved, unless that is allowed.
    pub fn print(&self, report: &Report, output: Output) -> anyhow::Result<()> {
        if let Some(first) = report.unproved.first().filter(|_| !self.allow_unproved) {
            bail!("{first} (--allow-unproved lets this pass)");
        }
        let unproved: Vec<String> = report.unproved.iter().map(ToString::to_string).collect();
        let json = json!({
            "events": report.events,
            "proved": report.proved,
            "first": report.first,
            "last": report.last,
            "origin": report.checkpoint.origin,
            "successor": report.successor,
            "signed_at": report.signed_at.map(time::utc),
            "witnessed": report.witnessed.iter().map(Witnessed::json).collect::<Vec<_>>(),
            "size": report.checkpoint.size,
            "root_hash": report.checkpoint.root.to_string(),
            "absent": report.absent,
            "unproved": unproved,
            "refused": report.refused,
            "unsigned": report.unsigned,
        });
        output.print_lines(&json, &words(report))
    }
}

/// The proved events first, then the events that are not proved.
fn words(report: &Report) -> Vec<String> {
    let size = report.checkpoint.size;
    let mut lines = match report.events {
        0 if report.after == size => {
            vec![format!("no events in this range: event {size} is the last one signed")]
        }
        0 => vec!["no events in this range, says whoever wrote this file".to_owned()],
        _ => vec![format!("{} events verified against the checkpoint of {size} events", report.proved)],
    };
    if report.proved > 0 {
        let (first, last) = (report.after + 1, report.after + report.proved);
        let end = if last == size { ", and the checkpoint ends with the last" } else { "" };
        lines
            .push(format!("events {first} to {last} are what was signed, none between them is missing{end}"));
    }
    lines.push(time::sentence(report.signed_at));
    lines.extend(report.witnessed.iter().map(ToString::to_string));
    if let Some(key) = &report.successor {
        lines.push(format!("the checkpoint is signed with a key that the given one introduced: {key}"));
    }
    let absent = report.absent.iter().filter(|_| report.events > 0);
    lines.extend(absent.map(|(first, last)| format!("not in this file: events {first} to {last}")));
    lines.extend(report.unproved.iter().map(|what| format!("not verified: {what}")));
    if report.unsigned > 0 {
        lines.push(format!(
            "not in this file: {} events that were not signed when it was written",
            report.unsigned
        ));
    }
    lines
}

/// The text of a checkpoint, which is a few lines.
fn read(path: &Path) -> anyhow::Result<String> {
    input::read_text(path, MAX_CHECKPOINT_BYTES).with_context(|| format!("cannot read {}", path.display()))
}
