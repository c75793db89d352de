//! Which addresses may be saved. Names are resolved when something is sent, and checked then.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;
use url::{Host, Url};

use crate::form::reader::{Reader, parsed};

/// The longest address, in characters.
const LONGEST: usize = 2048;

/// Networks that are not global: those of IANA's registries of special-purpose addresses.
const NOT_GLOBAL: [&str; 30] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "100:0:0:1::/64",
];

/// Why an address may not be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("must be an https:// URL of at most {LONGEST} characters with a host")]
    NoUrl,
    #[error("must have no user name and no password")]
    Credentials,
    #[error("must have no fragment")]
    Fragment,
    #[error("must be at port 443")]
    Port,
    #[error("must be at a public host: this one is not reachable from everywhere")]
    NotGlobal,
}

/// Checks whether an address may be saved.
pub(super) fn check(text: &str) -> Result<(), Refusal> {
    let is_clean = !text.chars().any(|character| character.is_whitespace() || character.is_control());
    let url =
        Url::parse(text).ok().filter(|url| is_clean && url.scheme() == "https" && text.len() <= LONGEST);
    let url = url.ok_or(Refusal::NoUrl)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::Credentials);
    }
    if url.fragment().is_some() {
        return Err(Refusal::Fragment);
    }
    if url.port().is_some() {
        return Err(Refusal::Port);
    }
    match url.host().ok_or(Refusal::NoUrl)? {
        Host::Ipv4(address) if !is_global(address.into()) => Err(Refusal::NotGlobal),
        Host::Ipv6(address) if !is_global(address.into()) => Err(Refusal::NotGlobal),
        Host::Domain(name) if is_local(name) => Err(Refusal::NotGlobal),
        Host::Ipv4(_) | Host::Ipv6(_) | Host::Domain(_) => Ok(()),
    }
}

fn is_global(address: IpAddr) -> bool {
    let mut networks = NOT_GLOBAL.iter().filter_map(|network| network.parse::<IpNet>().ok());
    !networks.any(|network| network.contains(&address))
}

/// Whether a name is that of this machine, wherever it is resolved. RFC 6761, section 6.3.
fn is_local(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

/// An address that may be saved, as it was written.
pub(super) fn address() -> impl Reader<serde_json::Value, String> {
    let check = |text: &str| check(text).map(|()| text.to_owned());
    parsed(
        LONGEST,
        check,
        || json!({ "type": "string", "maxLength": LONGEST, "pattern": "^https://[^\\s]+$" }),
    )
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::{NOT_GLOBAL, Refusal, check};

    #[test]
    fn every_network_is_one() {
        for network in NOT_GLOBAL {
            assert!(network.parse::<IpNet>().is_ok(), "{network}");
        }
    }

    #[test]
    fn public_hosts_are_taken() {
        for url in [
            "https://harbor.example",
            "https://harbor.example:443/events?desk=1",
            "https://bücher.example/",
            "https://8.8.8.8/",
            "https://[2606:4700:4700::1111]/",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_is_no_address_of_https_is_refused() {
        let long = format!("https://harbor.example/{}", "a".repeat(2048));
        for url in [
            "",
            "harbor.example",
            "http://harbor.example",
            "https://",
            "https:// x",
            "ftp://a.example",
            &long,
        ] {
            assert_eq!(check(url), Err(Refusal::NoUrl), "{url}");
        }
        assert_eq!(check("https://user@harbor.example/"), Err(Refusal::Credentials));
        assert_eq!(check("https://:word@harbor.example/"), Err(Refusal::Credentials));
        assert_eq!(check("https://harbor.example/#x"), Err(Refusal::Fragment));
        assert_eq!(check("https://harbor.example:8443/"), Err(Refusal::Port));
    }

    #[test]
    fn what_is_not_reachable_from_everywhere_is_refused_in_whatever_spelling() {
        for host in [
            "127.0.0.1",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[fd00::1]",
            "[fe80::1]",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "１２７.０.０.１",
        ] {
            assert_eq!(check(&format!("https://{host}/")), Err(Refusal::NotGlobal), "{host}");
        }
    }
}
