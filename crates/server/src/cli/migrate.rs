//! `identityd migrate`.

use serde_json::json;

use identityd::database::IfMissing;
use identityd::settings::DatabaseSettings;
use identityd::{database, migrations};

use super::output::Output;
use super::with_database;

pub(super) async fn run(settings: &DatabaseSettings, output: Output) -> anyhow::Result<()> {
    with_database(settings, IfMissing::Create, async |open| database::migrate(open.pool()).await).await?;
    let known = migrations::known();
    output.print(&json!({ "migrations": known }), &format!("all {known} migrations are applied"))
}
