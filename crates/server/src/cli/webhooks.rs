//! `identityd webhooks`.

use clap::Subcommand;
use identity_projections::webhook_subscriptions::Row;
use serde_json::{Value, json};
use uuid::Uuid;

use super::deliveries::{self, ListFlags};
use super::output::{Output, print_list, timestamp};
use super::table::{Table, Tone, Toned, ago, plain};
use super::{Installation, as_operator};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the webhook subscriptions of an organization, the oldest first
    List {
        /// Id or name of the organization
        #[arg(long)]
        org: String,
    },
    /// Send nothing to a subscription until a client changes it
    Disable {
        /// Its id
        subscription_id: String,
    },
    /// List what was sent to a subscription and what was answered, the newest first
    Deliveries(ListFlags),
    /// Send now what waits for another attempt at a subscription
    Retry {
        /// Its id
        subscription_id: Uuid,
    },
}

pub(super) async fn run(command: Command, installation: &Installation, output: Output) -> anyhow::Result<()> {
    match command {
        Command::List { org } => list(&org, installation, output).await,
        Command::Disable { subscription_id } => disable(&subscription_id, installation, output).await,
        Command::Deliveries(flags) => deliveries::list(&flags, installation, output).await,
        Command::Retry { subscription_id } => deliveries::retry(subscription_id, installation, output).await,
    }
}

async fn list(org: &str, installation: &Installation, output: Output) -> anyhow::Result<()> {
    let rows = as_operator(installation, async |operator| operator.list_webhooks(org).await).await?;
    let json = rows.iter().map(as_json).collect();
    let lines: Vec<_> = rows.iter().map(as_line).collect();
    let mut table = Table::new(
        "webhook subscriptions",
        &["SUBSCRIPTION", "OWNER", "URL", "EVENTS", "CREATED", "STATE"],
        &[0, 1],
    );
    for row in &rows {
        table.add(as_row(row));
    }
    print_list(output, json, &lines, &table)
}

async fn disable(id: &str, installation: &Installation, output: Output) -> anyhow::Result<()> {
    as_operator(installation, async |operator| operator.disable_webhook(id).await).await?;
    output.print(&json!({ "subscription_id": id, "status": "disabled" }), &format!("disabled {id}"))
}

fn as_json(row: &Row) -> Value {
    json!({
        "id": row.id,
        "identity_id": row.identity_id,
        "owner_kind": row.owner_kind,
        "owner_id": row.owner_id,
        "url": row.url,
        "event_types": row.event_types.iter().collect::<Vec<_>>(),
        "has_auth_token": row.has_auth_token,
        "status": row.status,
        "disabled_reason": row.disabled_reason,
        "created_at": timestamp(row.created_at),
        "changed_at": timestamp(row.changed_at),
    })
}

fn state(row: &Row) -> String {
    match &row.disabled_reason {
        Some(reason) => format!("{}: {reason}", row.status),
        None => row.status.clone(),
    }
}

fn owner(row: &Row) -> String {
    format!("{} {}", row.owner_kind, row.owner_id)
}

fn types(row: &Row) -> String {
    row.event_types.iter().collect::<Vec<_>>().join(",")
}

fn as_line(row: &Row) -> Vec<String> {
    vec![row.id.to_string(), owner(row), row.url.clone(), types(row), timestamp(row.created_at), state(row)]
}

fn as_row(row: &Row) -> [Toned; 6] {
    let tone = if row.disabled_reason.is_some() { Tone::Past } else { Tone::Good };
    [
        plain(row.id.to_string()),
        plain(owner(row)),
        plain(&row.url),
        plain(types(row)),
        plain(ago(row.created_at)),
        (state(row), tone),
    ]
}
