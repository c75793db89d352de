//! Printing a comparison of the two readers.

use anyhow::ensure;
use identity_projections::second_reader::{Comparison, Difference, LeftOut, MAX_SAMPLED_EVENTS};
use serde_json::{Value, json};

use super::output::Output;

/// Prints what a comparison has found. Fails if there are differences.
pub(super) fn print(compared: &Comparison, output: Output) -> anyhow::Result<()> {
    output.print_lines(&as_json(compared), &lines(compared))?;
    let found = compared.differences.len();
    ensure!(found == 0, "{found} differences between the log, the second reader and the read models");
    Ok(())
}

fn as_json(compared: &Comparison) -> Value {
    let Comparison { aggregates, events, differences, is_cut_off, left_out, outdated } = compared;
    let differences: Vec<Value> = differences
        .iter()
        .map(|Difference { what, id, how }| json!({ "kind": what, "id": id, "how": how }))
        .collect();
    let left_out: Vec<Value> = left_out
        .iter()
        .map(|LeftOut { kind, id, events }| json!({ "kind": kind.as_str(), "id": id, "events": events }))
        .collect();
    json!({
        "aggregates": aggregates, "events": events, "differences": differences, "cut_off": is_cut_off,
        "left_out": left_out, "outdated": outdated,
    })
}

fn lines(compared: &Comparison) -> Vec<String> {
    let Comparison { aggregates, events, differences, is_cut_off, left_out, outdated } = compared;
    let mut lines =
        vec![format!("{events} events of {aggregates} aggregates, {} differences", differences.len())];
    lines.extend(differences.iter().map(|Difference { what, id, how }| format!("  {what} {id}: {how}")));
    if *is_cut_off {
        lines.push("  the comparison ended here, since there are so many".to_owned());
    }
    lines.extend(left_out.iter().map(|LeftOut { kind, id, events }| {
        format!(
            "left out: {} {id} with {events} events; a sample takes none with more than {MAX_SAMPLED_EVENTS}",
            kind.as_str()
        )
    }));
    lines.extend(outdated.iter().map(|name| {
        format!("left out: the read model {name}, whose rows another version of this software has made")
    }));
    lines
}
