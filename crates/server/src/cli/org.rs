//! `identityd org`.

use anyhow::Context as _;
use clap::Subcommand;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use identityd::database::IfMissing;
use identityd::operator::{NewOrganization, Operator, Organization};

use super::output::{Output, must_reach_somebody, print_list, timestamp};
use super::table::{Table, ago, plain};
use super::{Installation, as_operator, with_database};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create an organization and print its admin key, which is shown only this once
    Create {
        /// What to call it
        name: String,
    },
    /// List all organizations, the oldest first
    List,
}

pub(super) async fn run(command: Command, installation: &Installation, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Create { name } => create(&name, installation, output).await,
        Command::List => list(installation, output).await,
    }
}

async fn create(name: &str, installation: &Installation, output: Output) -> anyhow::Result<()> {
    must_reach_somebody()?;
    let created = with_database(&installation.database, IfMissing::Create, async |open| {
        open.migrate().await?;
        Operator::new(open.pool().clone(), installation.signing.clone()).create_organization(name).await
    })
    .await?;
    let NewOrganization { organization_id, api_key } = created;
    let key = api_key.expose_secret();
    let lines = [format!("organization {organization_id}"), format!("admin key    {key}")];
    let printed = output.print_lines(&json!({ "organization_id": organization_id, "api_key": key }), &lines);
    printed.with_context(|| unseen(&organization_id))
}

/// The message if the first key of a new organization could not be printed.
pub(super) fn unseen(organization_id: &str) -> String {
    format!(
        "the organization {organization_id} was created, but its key could not be shown; for another key: \
         identityd key issue --org {organization_id} --label LABEL"
    )
}

async fn list(installation: &Installation, output: Output) -> anyhow::Result<()> {
    let organizations =
        as_operator(installation, async |operator| operator.list_organizations().await).await?;
    let json = organizations.iter().map(as_json).collect();
    let lines: Vec<_> = organizations.iter().map(as_line).collect();
    let mut table = Table::new("organizations", &["ORGANIZATION", "NAME", "CREATED"], &[0]);
    for Organization { id, name, created_at } in &organizations {
        table.add([plain(id), plain(name), plain(ago(*created_at))]);
    }
    print_list(output, json, &lines, &table)
}

fn as_json(organization: &Organization) -> Value {
    let Organization { id, name, created_at } = organization;
    json!({ "id": id, "name": name, "created_at": timestamp(*created_at) })
}

fn as_line(organization: &Organization) -> Vec<String> {
    let Organization { id, name, created_at } = organization;
    vec![id.clone(), name.clone(), timestamp(*created_at)]
}
