//! `identityd migrate`.

use serde_json::json;

use identityd::database::IfMissing;
use identityd::migrations;
use identityd::settings::DatabaseSettings;

use super::output::Output;
use super::with_database;

pub(super) async fn run(database: &DatabaseSettings, output: Output) -> anyhow::Result<()> {
    with_database(database, IfMissing::Create, async |database| migrations::run(database.pool()).await)
        .await?;
    let known = migrations::known();
    output.print(&json!({ "migrations": known }), &format!("all {known} migrations are applied"))
}
