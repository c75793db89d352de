//! `identityd doctor`.

use anyhow::ensure;
use serde_json::{Value, json};

use identityd::database::Database;
use identityd::doctor::{self, Check};
use identityd::settings::DatabaseSettings;

use super::output::Output;
use super::with_database;

pub(super) async fn run(database: &DatabaseSettings, output: Output) -> anyhow::Result<()> {
    let examined =
        with_database(database, async |database: &Database| doctor::examine(database.pool()).await);
    let checks = examined.await.unwrap_or_else(|error| vec![Check::reachable(Err(format!("{error:#}")))]);
    let failed = checks.iter().filter(|check| !check.passed).count();
    let json = json!({ "passed": failed == 0, "checks": checks.iter().map(as_json).collect::<Vec<_>>() });
    output.print(&json, &checks.iter().map(as_line).collect::<Vec<_>>().join("\n"))?;
    ensure!(failed == 0, "{failed} of {} checks failed", checks.len());
    Ok(())
}

fn as_json(check: &Check) -> Value {
    json!({ "name": check.name, "passed": check.passed, "finding": check.finding })
}

fn as_line(check: &Check) -> String {
    let mark = if check.passed { "ok" } else { "FAILED" };
    format!("{mark:6}  {}: {}", check.name, check.finding)
}
