//! `identityd doctor`.

use anyhow::ensure;
use identity_terminal::escape;
use identity_terminal::output::write_line;
use serde_json::{Value, json};

use identityd::database::{Database, IfMissing};
use identityd::doctor::{self, Check};
use identityd::settings::ServeSettings;

use super::output::{Output, is_terminal, print_table};
use super::table::{Table, Tone, plain};
use super::{Installation, with_database};

pub(super) async fn run(
    settings: &ServeSettings,
    installation: &Installation,
    output: Output,
) -> anyhow::Result<()> {
    let Installation { database, signing, secrets } = installation;
    let is_for_scripts = !output.json && !is_terminal();
    let mut written = Ok(());
    let mut tell = |check: &Check| {
        if is_for_scripts && written.is_ok() {
            written = write_line(&escape::text(&as_line(check)));
        }
    };
    let examined = with_database(database, IfMissing::Refuse, async |database: &Database| {
        doctor::examine(database.pool(), settings.postgres, signing, secrets, &mut tell).await
    });
    let mut checks = examined.await.unwrap_or_else(|error| {
        let unreachable = Check::reachable(Err(format!("{error:#}")));
        tell(&unreachable);
        vec![unreachable]
    });
    for check in doctor::serving::examine(settings) {
        tell(&check);
        checks.push(check);
    }
    let failed = checks.iter().filter(|check| !check.passed).count();
    let json = json!({ "passed": failed == 0, "checks": checks.iter().map(as_json).collect::<Vec<_>>() });
    written?;
    if !is_for_scripts {
        print(&checks, &json, output)?;
    }
    ensure!(failed == 0, "{failed} of {} checks failed", checks.len());
    Ok(())
}

fn print(checks: &[Check], json: &Value, output: Output) -> anyhow::Result<()> {
    if output.json {
        return output.print(json, "");
    }
    let mut table = Table::new("checks", &["CHECK", "", "FINDING"], &[0]);
    for check in checks {
        let verdict = if check.passed { ("ok", Tone::Good) } else { ("FAILED", Tone::Bad) };
        table.add([plain(check.name), (verdict.0.to_owned(), verdict.1), plain(&check.finding)]);
    }
    print_table(&table)
}

fn as_json(check: &Check) -> Value {
    json!({ "name": check.name, "passed": check.passed, "finding": check.finding })
}

fn as_line(check: &Check) -> String {
    let mark = if check.passed { "ok" } else { "FAILED" };
    format!("{mark:6}  {}: {}", check.name, check.finding)
}
