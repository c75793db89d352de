//! `identityd webhooks`.

use clap::Subcommand;
use identity_projections::webhook_subscriptions::Row;
use identity_webhooks::log_endpoints::LogEndpoint;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use identityd::operator::webhooks::Kind;

use super::deliveries::{self, ListFlags};
use super::output::{Output, print_list, timestamp};
use super::table::{Table, Tone, Toned, ago, plain};
use super::{Installation, as_operator};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the webhook subscriptions of an organization and its log endpoints, each the oldest first
    List {
        /// Id or name of the organization
        #[arg(long)]
        org: String,
    },
    /// Send nothing to a subscription until a client changes it, or to a log endpoint until a client asks for a replay
    Disable {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
    /// List what was sent to a subscription and what was answered, the newest first
    Deliveries(ListFlags),
    /// Send now what waits for another attempt at a subscription or log endpoint
    Retry {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
}

pub(super) async fn run(command: Command, installation: &Installation, output: Output) -> anyhow::Result<()> {
    match command {
        Command::List { org } => list(&org, installation, output).await,
        Command::Disable { id } => disable(&id, installation, output).await,
        Command::Deliveries(flags) => deliveries::list(&flags, installation, output).await,
        Command::Retry { id } => retry(&id, installation, output).await,
    }
}

async fn list(org: &str, installation: &Installation, output: Output) -> anyhow::Result<()> {
    let listing = as_operator(installation, async |operator| {
        Ok((operator.list_webhooks(org).await?, operator.list_log_endpoints(org).await?))
    });
    let (subscriptions, endpoints) = listing.await?;
    let json = subscriptions.iter().map(as_json).chain(endpoints.iter().map(endpoint_as_json)).collect();
    let listed: Vec<Listed<'_>> =
        subscriptions.iter().map(Listed::from).chain(endpoints.iter().map(Listed::from)).collect();
    let lines: Vec<_> = listed.iter().map(Listed::as_line).collect();
    let mut table = Table::new("webhooks", &["ID", "OWNER", "URL", "EVENTS", "CREATED", "STATE"], &[0, 1]);
    for one in &listed {
        table.add(one.as_row());
    }
    print_list(output, json, &lines, &table)
}

/// Makes everything due that waits for another attempt.
async fn retry(id: &str, installation: &Installation, output: Output) -> anyhow::Result<()> {
    let retried = as_operator(installation, async |operator| operator.retry_webhook(id).await).await?;
    output.print(&json!({ "retried": retried }), &format!("{retried} deliveries are sent again now"))
}

async fn disable(id: &str, installation: &Installation, output: Output) -> anyhow::Result<()> {
    let kind = as_operator(installation, async |operator| operator.disable_webhook(id).await).await?;
    let json = json!({ "id": id, "kind": kind.as_str(), "status": "disabled" });
    output.print(&json, &format!("disabled the {} {id}", kind.words()))
}

fn as_json(row: &Row) -> Value {
    json!({
        "id": row.id,
        "kind": Kind::Subscription.as_str(),
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

fn endpoint_as_json(endpoint: &LogEndpoint) -> Value {
    json!({
        "id": endpoint.id,
        "kind": Kind::LogEndpoint.as_str(),
        "url": endpoint.url,
        "event_types": endpoint.event_types,
        "status": endpoint_status(endpoint),
        "disabled_reason": endpoint.disabled_reason,
        "delivered_upto": endpoint.sequence,
        "failing_since": endpoint.failing_since.map(timestamp),
        "last_attempt_at": endpoint.last_attempt_at.map(timestamp),
        "last_status": endpoint.last_status,
        "last_error": endpoint.last_error,
        "created_at": timestamp(endpoint.created_at),
    })
}

const fn endpoint_status(endpoint: &LogEndpoint) -> &'static str {
    if endpoint.disabled_reason.is_some() { "disabled" } else { "active" }
}

/// A subscription or log endpoint as people see it.
struct Listed<'a> {
    id: Uuid,
    owner: String,
    url: &'a str,
    types: String,
    created_at: OffsetDateTime,
    status: &'a str,
    disabled_reason: Option<&'a str>,
}

impl<'a> From<&'a Row> for Listed<'a> {
    fn from(row: &'a Row) -> Self {
        Self {
            id: row.id,
            owner: format!("{} {}", row.owner_kind, row.owner_id),
            url: &row.url,
            types: row.event_types.iter().collect::<Vec<_>>().join(","),
            created_at: row.created_at,
            status: &row.status,
            disabled_reason: row.disabled_reason.as_deref(),
        }
    }
}

impl<'a> From<&'a LogEndpoint> for Listed<'a> {
    fn from(endpoint: &'a LogEndpoint) -> Self {
        Self {
            id: endpoint.id,
            owner: format!("log endpoint, up to event {}", endpoint.sequence),
            url: &endpoint.url,
            types: endpoint.event_types.as_ref().map_or_else(|| "all".to_owned(), |types| types.join(",")),
            created_at: endpoint.created_at,
            status: endpoint_status(endpoint),
            disabled_reason: endpoint.disabled_reason.as_deref(),
        }
    }
}

impl Listed<'_> {
    fn state(&self) -> String {
        match self.disabled_reason {
            Some(reason) => format!("{}: {reason}", self.status),
            None => self.status.to_owned(),
        }
    }

    fn as_line(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.owner.clone(),
            self.url.to_owned(),
            self.types.clone(),
            timestamp(self.created_at),
            self.state(),
        ]
    }

    fn as_row(&self) -> [Toned; 6] {
        let tone = if self.disabled_reason.is_some() { Tone::Past } else { Tone::Good };
        [
            plain(self.id.to_string()),
            plain(&self.owner),
            plain(self.url),
            plain(&self.types),
            plain(ago(self.created_at)),
            (self.state(), tone),
        ]
    }
}
