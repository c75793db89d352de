//! Which URLs and which addresses webhooks may reach. A URL is checked in the same way when it is saved and each time that
//! something is sent to it ([`Policy::reach`]), since a name can lead elsewhere later.
//!
//! The connection goes to an address that was checked, and the name is not resolved again (`connector.rs`).

mod networks;
mod resolver;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hyper::Uri;
use ipnet::IpNet;
use url::{Host, Url};

pub use networks::reserved_for;
pub use resolver::{Resolver, SystemResolver, Turn};
pub(crate) use resolver::{counted_as_now, counted_for};

/// The port of https, which is always allowed.
const HTTPS_PORT: u16 = 443;

/// The longest URL, in bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// How long a name may take to be resolved.
const RESOLUTION_TIMEOUT: Duration = Duration::from_secs(2);

/// What an operator allows.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Ports besides 443.
    pub ports: Vec<u16>,
    /// Networks that may be reached although they are not public.
    pub networks: Vec<IpNet>,
    /// Whether addresses of this machine may be reached, at every port and over http too. For demonstrations and tests.
    pub allows_loopback: bool,
}

/// Why a URL is not reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The text is no URL.
    #[error("must be an absolute URL of at most {MAX_URL_BYTES} characters, without spaces")]
    NoUrl,
    /// The scheme is not https.
    #[error("must begin with https://")]
    Scheme,
    /// It has a user name or a password.
    #[error("must not contain a user name or a password")]
    Credentials,
    /// It has a fragment, which is never sent.
    #[error("must not have a fragment (#…)")]
    Fragment,
    /// The port is not allowed.
    #[error(
        "must not have port {0}: this installation sends webhooks to port 443 and to those of webhook_ports"
    )]
    Port(u16),
    /// The host is an address, and it is not public.
    #[error("{host} leads to {address}, which is not a public address ({reserved_for})")]
    Address {
        /// The host of the URL.
        host: String,
        /// The address.
        address: IpAddr,
        /// What the address is reserved for.
        reserved_for: &'static str,
    },
    /// An address of the name is not public. Clients are not told which, since the name may be one of an internal network.
    #[error("{0} leads to an address that is not public")]
    Internal(String),
    /// The name of the host has no address.
    #[error("{0} has no address")]
    Unknown(String),
    /// The name of the host could not be looked up in time.
    #[error("{0} could not be resolved within 2 s")]
    Unresolved(String),
    /// The name of the host was not looked up, since too many others are.
    #[error("{0} was not resolved: too many names of the organization, or of all, are being resolved")]
    Busy(String),
}

/// Checks the text of a URL, and its address if its host is one. Names are not resolved.
pub fn check_url(text: &str, policy: &Policy) -> Result<Url, Refusal> {
    let is_clean = !text.contains(|character: char| character.is_whitespace() || character.is_control());
    let url =
        Url::parse(text).ok().filter(|_| is_clean && text.len() <= MAX_URL_BYTES).ok_or(Refusal::NoUrl)?;
    let is_known_scheme = url.scheme() == "https" || policy.allows_loopback && url.scheme() == "http";
    if !is_known_scheme {
        return Err(Refusal::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::Credentials);
    }
    if url.fragment().is_some() {
        return Err(Refusal::Fragment);
    }
    match url.host().ok_or(Refusal::NoUrl)? {
        Host::Ipv4(address) => policy.check_address(&url, address.into())?,
        Host::Ipv6(address) => policy.check_address(&url, address.into())?,
        Host::Domain(name) if is_this_machine(name) => {
            policy.check_address(&url, Ipv4Addr::LOCALHOST.into())?;
        }
        // Where private networks may be reached, such a name may lead to one.
        Host::Domain(name) if policy.networks.is_empty() && is_within(name, &PRIVATE_DOMAINS) => {
            return Err(Refusal::Internal(name.to_owned()));
        }
        Host::Domain(_) => policy.check_port(&url)?,
    }
    // Hosts with characters such as quotation marks are URLs for browsers and cannot be asked over HTTP.
    url.as_str().parse::<Uri>().map_err(|_| Refusal::NoUrl)?;
    Ok(url)
}

/// Names of this machine, wherever they are resolved: RFC 6761, section 6.3, and what is in the hosts files of systems.
const OWN_DOMAINS: [&str; 4] = ["localhost", "localdomain", "ip6-localhost", "ip6-loopback"];

/// Domains of private networks: RFC 6762, and the one that ICANN has reserved for them.
const PRIVATE_DOMAINS: [&str; 2] = ["local", "internal"];

fn is_this_machine(name: &str) -> bool {
    is_within(name, &OWN_DOMAINS)
}

/// Whether a name is one of these domains, or below one.
fn is_within(name: &str, domains: &[&str]) -> bool {
    let name = name.trim_end_matches('.');
    let is_below = |rest: &str| rest.is_empty() || rest.ends_with('.');
    domains.iter().any(|domain| name.strip_suffix(domain).is_some_and(is_below))
}

impl Policy {
    /// Checks a URL, resolves its host, checks every address, and returns them. One address that may not be reached is
    /// enough for a refusal: a public name has no private address beside its public one.
    pub async fn reach(&self, text: &str, resolver: &dyn Resolver) -> Result<Vec<SocketAddr>, Refusal> {
        let url = check_url(text, self)?;
        let addresses = match url.host().ok_or(Refusal::NoUrl)? {
            Host::Ipv4(address) => vec![address.into()],
            Host::Ipv6(address) => vec![address.into()],
            // Over http only this machine is reached, which a name that is not resolved does not show.
            Host::Domain(name) => {
                let is_secure = url.scheme() == "https";
                let addresses = resolve(name, resolver).await;
                let is_kept = |refusal: &Refusal| is_secure || matches!(refusal, Refusal::Busy(_));
                addresses.map_err(|refusal| if is_kept(&refusal) { refusal } else { Refusal::Scheme })?
            }
        };
        let checked = addresses.iter().try_for_each(|address| self.check_address(&url, *address));
        checked.map_err(|refusal| if url.domain().is_some() { without_address(refusal) } else { refusal })?;
        let port = url.port_or_known_default().unwrap_or(HTTPS_PORT);
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    /// A demonstration may use every port of this machine, whose address is known only once the name is resolved.
    fn check_port(&self, url: &Url) -> Result<(), Refusal> {
        if self.allows_loopback { Ok(()) } else { self.check_public_port(url) }
    }

    fn check_public_port(&self, url: &Url) -> Result<(), Refusal> {
        let port = url.port_or_known_default().unwrap_or(HTTPS_PORT);
        if port == HTTPS_PORT || self.ports.contains(&port) { Ok(()) } else { Err(Refusal::Port(port)) }
    }

    fn check_address(&self, url: &Url, address: IpAddr) -> Result<(), Refusal> {
        if self.allows_loopback && address.is_loopback() {
            return Ok(());
        }
        if url.scheme() != "https" {
            return Err(Refusal::Scheme);
        }
        self.check_public_port(url)?;
        match reserved_for(address) {
            Some(reserved_for) if !self.networks.iter().any(|network| network.contains(&address)) => {
                let host = url.host_str().unwrap_or_default().to_owned();
                Err(Refusal::Address { host, address, reserved_for })
            }
            _ => Ok(()),
        }
    }
}

/// The refusal of a name as clients are told it. Only the log has the address.
fn without_address(refusal: Refusal) -> Refusal {
    let Refusal::Address { host, .. } = &refusal else { return refusal };
    tracing::warn!(error = %refusal, "a webhook is not sent to an address that is not public");
    Refusal::Internal(host.clone())
}

async fn resolve(name: &str, resolver: &dyn Resolver) -> Result<Vec<IpAddr>, Refusal> {
    let turn = resolver.turn().await.ok_or_else(|| Refusal::Busy(name.to_owned()))?;
    let resolution = tokio::time::timeout(RESOLUTION_TIMEOUT, resolver.addresses(name, turn)).await;
    let addresses = resolution.map_err(|_| Refusal::Unresolved(name.to_owned()))?;
    let addresses = addresses.ok().filter(|addresses| !addresses.is_empty());
    addresses.ok_or_else(|| Refusal::Unknown(name.to_owned()))
}
