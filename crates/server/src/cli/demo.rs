//! The first minutes of a new user: an organization, its key, and three lines to paste.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use serde_json::json;

use identityd::Service;
use identityd::operator::{NewOrganization, Operator};

use super::org;
use super::output::{Output, must_reach_somebody};

/// The name of the organization that is made if there is none.
const NAME: &str = "demo";

/// Creates the organization and prints its key, which is shown this once. If there is an organization already, says how
/// to get another key.
pub(super) async fn introduce(operator: &Operator, service: &Service, output: Output) -> anyhow::Result<()> {
    let organizations = operator.list_organizations().await?;
    if let Some(first) = organizations.first() {
        return remind(&first.name, output);
    }
    must_reach_somebody()?;
    let created = operator.create_organization(NAME).await?;
    show(&created, service, output)
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
