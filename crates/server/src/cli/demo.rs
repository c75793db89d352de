//! The first minutes of a new user: an organization, its key, and three lines to paste.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use identity_log::AppendError;
use secrecy::ExposeSecret as _;
use serde_json::json;

use identityd::Service;
use identityd::database::{Database, MAX_SILENCE};
use identityd::operator::{NewOrganization, Operator};
use identityd::signing::SigningSettings;

use super::org;
use super::output::{Output, must_reach_somebody};

/// The name of the organization that is made if there is none.
const NAME: &str = "demo";

/// The wait before the next attempt, after the database was unavailable.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Makes a demo of a service that has just started.
pub(super) struct Demo<'a> {
    database: &'a Database,
    operator: Operator,
}

impl<'a> Demo<'a> {
    pub(super) fn on(database: &'a Database, signing: &SigningSettings) -> Self {
        Self { database, operator: Operator::new(database.pool().clone(), signing.clone()) }
    }

    /// Creates the organization and prints its key, which is shown this once. If there is an organization already, says how to get
    /// another key. While the database is unavailable, this is tried again and again.
    pub(super) async fn introduce(&self, service: &Service, output: Output) -> anyhow::Result<()> {
        service.ready().await;
        loop {
            let introducing = introduce(&self.operator, service, output);
            match self.database.unless_silent(MAX_SILENCE, introducing).await {
                Err(error) if is_outage(&error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "cannot prepare the demo yet, which is tried again");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                outcome => return outcome.context("cannot prepare the demo"),
            }
        }
    }
}

async fn introduce(operator: &Operator, service: &Service, output: Output) -> anyhow::Result<()> {
    let organizations = operator.list_organizations().await?;
    if let Some(first) = organizations.first() {
        return remind(&first.name, output);
    }
    must_reach_somebody()?;
    let created = operator.create_organization(NAME).await?;
    show(&created, service, output)
}

/// Whether the database was unavailable. If nobody knows whether the organization was created, another attempt finds out.
fn is_outage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let is_of_append = matches!(
            cause.downcast_ref(),
            Some(AppendError::Unavailable(_) | AppendError::OutcomeUnknown(_))
        );
        is_of_append || cause.downcast_ref().is_some_and(identity_log::is_outage)
    })
}

fn remind(organization: &str, output: Output) -> anyhow::Result<()> {
    let command = format!("identityd key issue --org {organization} --label another");
    let text = format!("organization `{organization}` is there; for another admin key: {command}");
    output.print(&json!({ "organization": organization }), &text)
}

fn show(created: &NewOrganization, service: &Service, output: Output) -> anyhow::Result<()> {
    let NewOrganization { organization_id, api_key } = created;
    let key = api_key.expose_secret();
    let created = format!("created organization `{NAME}` ({organization_id})");
    let shown = format!("admin key, shown only now: {key}");
    let [create, list, get] = curl_lines(service.scheme(), service.address(), key);
    let text =
        ["", &created, &shown, "", "create an identity, list all, get it:", "", &create, &list, &get, ""];
    let printed = output.print_lines(&json!({ "organization_id": organization_id, "api_key": key }), &text);
    printed.with_context(|| org::unseen(organization_id))
}

fn curl_lines(scheme: &str, address: SocketAddr, key: &str) -> [String; 3] {
    let identities = format!("{scheme}://{}/api/v1/identities", reachable(address));
    let curl = format!("curl -sS -H 'X-API-Key: {key}'");
    [
        format!(
            "{curl} -H 'Content-Type: application/json' -d '{{\"agent_handle\":\"sales-agent\"}}' {identities}"
        ),
        format!("{curl} {identities}"),
        format!("{curl} {identities}/sales-agent"),
    ]
}

/// The address for a client on this machine. If the service listens on every address, that is the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
        _ => address,
    }
}

#[cfg(test)]
mod tests;
