//! `identityd migrate`.

use anyhow::Context as _;
use serde_json::json;

use identityd::database::{Database, IfMissing};
use identityd::migrations;
use identityd::roles::{self, Standing};
use identityd::settings::DatabaseSettings;

use super::output::Output;
use super::with_database;

pub(super) async fn run(settings: &DatabaseSettings, output: Output) -> anyhow::Result<()> {
    let Standing { role, owner, .. } = with_database(settings, IfMissing::Create, migrated).await?;
    let known = migrations::known();
    let json = json!({ "migrations": known, "owner": owner, "service": role });
    let owner = owner.filter(|owner| *owner != role);
    let roles = owner.map_or_else(String::new, |owner| format!("; {owner} owns the tables, {role} serves"));
    output.print(&json, &format!("all {known} migrations are applied{roles}"))
}

/// Brings the database up to date. Returns how the role that serves stands to its tables.
async fn migrated(database: &Database) -> anyhow::Result<Standing> {
    database.migrate().await?;
    let mut connection = database.pool().acquire().await?;
    roles::standing(&mut connection).await.context("cannot look up the role")
}
