//! `identityd projections status`.

use identity_projections::{Table, registry, tables};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};

use super::super::output::{Output, print_list, timestamp};
use super::super::table::{Table as Rows, Tone, Toned, ago, grouped, plain};

pub(super) async fn show(options: &PgConnectOptions, output: Output) -> anyhow::Result<()> {
    let mut connection = options.connect().await?;
    let tables = tables();
    let known: Vec<&dyn Table> = tables.iter().map(AsRef::as_ref).collect();
    registry::register(&mut connection, &known).await?;
    let entries = registry::list(&mut connection).await?;
    let mut json = Vec::new();
    let mut lines = Vec::new();
    let mut table = Rows::new(
        "read models",
        &["READ MODEL", "VERSION", "ROWS", "BUILT", "ROLLBACK", "VERIFIED", "LAST JOB"],
        &[0],
    );
    for model in &tables {
        let Some(entry) = entries.iter().find(|entry| entry.name == model.name()) else {
            continue;
        };
        let rows = if entry.is_there { Some(rows(&mut connection, model.name()).await?) } else { None };
        json.push(as_json(entry, model.version(), rows));
        lines.push(as_line(entry, model.version(), rows));
        table.add(as_row(entry, model.version(), rows));
    }
    print_list(output, json, &lines, &table)
}

async fn rows(connection: &mut PgConnection, name: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(&format!("select count(*) from read_model.{name}")).fetch_one(connection).await
}

fn as_json(entry: &registry::Entry, version_in_code: i32, rows: Option<i64>) -> Value {
    json!({
        "name": entry.name,
        "version_in_code": version_in_code,
        "version": entry.version,
        "rows": rows,
        "built_at": timestamp(entry.built_at),
        "built_position": entry.built_position,
        "retired": entry.retired_version.map(|version| json!({
            "version": version,
            "position": entry.retired_position,
            "retired_at": entry.retired_at.map(timestamp),
        })),
        "ready": entry.next_version.map(|version| json!({
            "version": version,
            "position": entry.next_position,
        })),
        "job": entry.job_phase.as_ref().map(|phase| json!({
            "running": entry.job_runs,
            "phase": phase,
            "done": entry.job_done,
            "total": entry.job_total,
            "updated_at": entry.job_updated_at.map(timestamp),
        })),
        "verified": entry.verified_at.map(|at| json!({
            "at": timestamp(at),
            "position": entry.verified_position,
            "differences": entry.differences,
        })),
    })
}

fn as_line(entry: &registry::Entry, version_in_code: i32, rows: Option<i64>) -> Vec<String> {
    let retired = entry.retired_version.zip(entry.retired_position).map_or_else(
        || "nothing to roll back to".to_owned(),
        |(version, position)| format!("can roll back to version {version} of position {position}"),
    );
    let ready = entry.next_version.map(|version| format!("version {version} is ready to go live"));
    let verified = entry.differences.zip(entry.verified_position).map_or_else(
        || "never verified".to_owned(),
        |(differences, position)| format!("{differences} differences at position {position}"),
    );
    let mut line = vec![
        entry.name.clone(),
        format!("version {} (code {version_in_code})", entry.version),
        rows.map_or_else(|| "missing".to_owned(), |rows| format!("{rows} rows")),
        format!("built {}", timestamp(entry.built_at)),
        retired,
        verified,
        job(entry),
    ];
    line.extend(ready);
    line
}

fn as_row(entry: &registry::Entry, version_in_code: i32, rows: Option<i64>) -> [Toned; 7] {
    let version = if entry.version == version_in_code {
        plain(entry.version.to_string())
    } else {
        (format!("{}, the software has {version_in_code}", entry.version), Tone::Bad)
    };
    let rollback = entry.retired_version.map_or_else(
        || plain("-"),
        |version| {
            plain(format!("to version {version}, retired {}", entry.retired_at.map(ago).unwrap_or_default()))
        },
    );
    let verified = match (entry.differences, entry.verified_at) {
        (Some(0), Some(at)) => (format!("no differences, {}", ago(at)), Tone::Good),
        (Some(differences), Some(at)) => {
            (format!("{} differences, {}", grouped(differences), ago(at)), Tone::Bad)
        }
        _ => plain("never"),
    };
    let ready = entry.next_version.map(|version| format!("; version {version} is ready to go live"));
    let job = job(entry) + &ready.unwrap_or_default();
    let tone = if job.contains("killed") || job.contains("failed") { Tone::Bad } else { Tone::Plain };
    [
        plain(&entry.name),
        version,
        rows.map_or_else(|| ("missing".to_owned(), Tone::Bad), |rows| plain(grouped(rows))),
        plain(ago(entry.built_at)),
        rollback,
        verified,
        (job, tone),
    ]
}

/// The last job, or the one at work. One that says neither how it ended nor that it is at work was killed.
fn job(entry: &registry::Entry) -> String {
    let Some(phase) = &entry.job_phase else {
        return "no job yet".to_owned();
    };
    let (done, total) = (entry.job_done.unwrap_or_default(), entry.job_total.unwrap_or_default());
    let ended = ["done", "ready"].contains(&phase.as_str()) || phase.contains(" in phase ");
    let word = match (entry.job_runs, ended) {
        (true, _) => "job at work",
        (false, true) => "last job",
        (false, false) => "last job was killed",
    };
    format!("{word}: {phase}, {done} of {total} events")
}
