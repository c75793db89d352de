//! `identityd access`: who may see an identity.

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{Output, print_list};
use super::table::{Table, plain};
use super::{Installation, as_operator};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List who may see an identity, the oldest grant first
    List(Target),
    /// Let one identity see another
    Grant(Grant),
    /// Let every active identity of the organization see this one
    GrantEveryone(Target),
    /// Revoke the access of one viewer to an identity
    Revoke(Grant),
}

#[derive(Debug, Args)]
pub(super) struct Target {
    /// Handle of the identity that is seen
    handle: String,

    /// Id or name of the organization
    #[arg(long)]
    org: String,
}

#[derive(Debug, Args)]
pub(super) struct Grant {
    #[command(flatten)]
    target: Target,

    /// Handle of the identity that sees it
    #[arg(long, value_name = "HANDLE")]
    viewer: String,
}

pub(super) async fn run(command: Command, installation: &Installation, output: Output) -> anyhow::Result<()> {
    match command {
        Command::List(target) => list(&target, installation, output).await,
        Command::Grant(grant) => change(&grant, true, installation, output).await,
        Command::GrantEveryone(target) => grant_everyone(&target, installation, output).await,
        Command::Revoke(grant) => change(&grant, false, installation, output).await,
    }
}

async fn list(target: &Target, installation: &Installation, output: Output) -> anyhow::Result<()> {
    let Target { handle, org } = target;
    let rows = as_operator(installation, async |operator| operator.list_access(org, handle).await).await?;
    let mut table = Table::new("viewers", &["VIEWER", "SINCE", "ACCESS"], &[0, 2]);
    let mut lines = Vec::with_capacity(rows.len());
    for row in &rows {
        let viewer = row.viewer.clone().unwrap_or_else(|| "everyone".to_owned());
        let since = row.document.get("created_at").and_then(serde_json::Value::as_str).unwrap_or_default();
        table.add([plain(&viewer), plain(since), plain(row.id.to_string())]);
        lines.push(vec![row.id.to_string(), viewer, since.to_owned()]);
    }
    print_list(output, rows.into_iter().map(|row| row.document).collect(), &lines, &table)
}

async fn change(
    grant: &Grant,
    grants: bool,
    installation: &Installation,
    output: Output,
) -> anyhow::Result<()> {
    let Grant { target: Target { handle, org }, viewer } = grant;
    as_operator(installation, async |operator| {
        if grants {
            operator.grant_access(org, handle, viewer).await
        } else {
            operator.revoke_access(org, handle, viewer).await
        }
    })
    .await?;
    let (status, may) = if grants { ("granted", "may see") } else { ("revoked", "may no longer see") };
    let json = json!({ "agent_handle": handle, "viewer": viewer, "status": status });
    output.print(&json, &format!("{viewer} {may} {handle}"))
}

async fn grant_everyone(target: &Target, installation: &Installation, output: Output) -> anyhow::Result<()> {
    let Target { handle, org } = target;
    let is_new =
        as_operator(installation, async |operator| operator.grant_everyone(org, handle).await).await?;
    let (status, already) = if is_new { ("granted", "") } else { ("unchanged", " already") };
    let json = json!({ "agent_handle": handle, "viewer": null, "status": status });
    output.print(&json, &format!("every active identity{already} may see {handle}"))
}
