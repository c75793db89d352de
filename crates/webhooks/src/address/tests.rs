use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;

use super::{MAX_URL_BYTES, Policy, Refusal, Resolver, Turn, check_url, reserved_for};

/// Says of every name that it has these addresses.
#[derive(Debug)]
struct Fixed(&'static [&'static str]);

#[async_trait]
impl Resolver for Fixed {
    async fn addresses(&self, _name: &str, _: Turn) -> io::Result<Vec<IpAddr>> {
        Ok(self.0.iter().map(|address| address.parse().unwrap()).collect())
    }
}

fn refusal(text: &str) -> Option<Refusal> {
    check_url(text, &Policy::default()).err()
}

#[test]
fn public_https_urls_are_allowed() {
    let long = format!("https://example.com/{}", "a".repeat(MAX_URL_BYTES - 20));
    for text in [
        "https://example.com",
        "https://example.com:443/in?token=1",
        "https://8.8.8.8/",
        "https://bücher.example/",
        &long,
    ] {
        assert_eq!(refusal(text), None, "{text}");
    }
}

#[test]
fn no_other_urls_are_allowed() {
    let long = format!("https://example.com/{}", "a".repeat(MAX_URL_BYTES - 19));
    for (text, expected) in [
        ("", Refusal::NoUrl),
        ("example.com/in", Refusal::NoUrl),
        ("https://", Refusal::NoUrl),
        (" https://example.com", Refusal::NoUrl),
        ("https://exa\tmple.com", Refusal::NoUrl),
        ("https://[fe80::1%25eth0]/", Refusal::NoUrl),
        ("https://exa\"mple.com/", Refusal::NoUrl),
        (&long, Refusal::NoUrl),
        ("http://example.com", Refusal::Scheme),
        ("file:///etc/passwd", Refusal::Scheme),
        ("ftp://example.com", Refusal::Scheme),
        ("https://user@example.com", Refusal::Credentials),
        ("https://:secret@example.com", Refusal::Credentials),
        ("https://example.com/#top", Refusal::Fragment),
        ("https://example.com:8443/", Refusal::Port(8443)),
        ("https://example.com:22/", Refusal::Port(22)),
    ] {
        assert_eq!(refusal(text), Some(expected), "{text}");
    }
}

#[test]
fn every_spelling_of_an_address_is_the_address() {
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "%31%32%37.1",
        "１２７.0.0.1",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "0",
        "[::]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[64:ff9b:1::7f00:1]",
        "[::ffff:0:7f00:1]",
        "[2606:4700::5efe:127.0.0.1]",
        "[2606:4700::200:5efe:7f00:1]",
        "[fe80::1]",
        "[fec0::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "169.254.169.254",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "10.0.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "198.19.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "255.255.255.255",
        "[2001:db8::1]",
        "[1::1]",
        "[4000::1]",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "localdomain",
        "localhost.localdomain",
        "ip6-localhost",
        "ip6-loopback",
    ] {
        let text = format!("https://{host}/");
        assert!(matches!(refusal(&text), Some(Refusal::Address { .. })), "{text}: {:?}", refusal(&text));
    }
}

#[test]
fn names_of_private_networks_are_refused_unless_networks_are_allowed() {
    let allowing = Policy { networks: vec!["10.0.0.0/8".parse().unwrap()], ..Policy::default() };
    for host in ["printer.local", "metadata.google.internal", "a.internal.", "internal", "LOCAL"] {
        let text = format!("https://{host}/");
        assert!(matches!(refusal(&text), Some(Refusal::Internal(_))), "{text}: {:?}", refusal(&text));
        assert!(check_url(&text, &allowing).is_ok(), "{text}");
    }
    for host in ["mylocal.example", "notlocal", "localhost.example", "internal.example"] {
        assert_eq!(refusal(&format!("https://{host}/")), None, "{host}");
    }
}

#[test]
fn addresses_beside_the_reserved_networks_are_public() {
    for address in [
        "9.255.255.255",
        "11.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "223.255.255.255",
        "100.63.255.255",
        "100.128.0.0",
        "2001:200::1",
        "2606:4700::1111",
        "2003::1",
    ] {
        assert_eq!(reserved_for(address.parse().unwrap()), None, "{address}");
    }
}

#[tokio::test]
async fn a_name_is_refused_if_any_of_its_addresses_is_not_public() {
    let policy = Policy::default();
    let reach = async |addresses| policy.reach("https://example.com/", &Fixed(addresses)).await;
    let reached: SocketAddr = "8.8.8.8:443".parse().unwrap();
    assert_eq!(reach(&["8.8.8.8"]).await, Ok(vec![reached]));
    assert_eq!(reach(&[]).await, Err(Refusal::Unknown("example.com".to_owned())));
    for addresses in [&["10.0.0.1"][..], &["8.8.8.8", "::1"], &["::ffff:8.8.8.8"]] {
        let refusal = reach(addresses).await.unwrap_err();
        assert_eq!(refusal.to_string(), "example.com leads to an address that is not public");
    }
}

#[tokio::test]
async fn an_allowed_network_and_an_allowed_port_are_reached_over_https_alone() {
    let policy =
        Policy { ports: vec![8443], networks: vec!["10.1.0.0/16".parse().unwrap()], ..Policy::default() };
    let reach = async |text, addresses| policy.reach(text, &Fixed(addresses)).await;
    assert!(reach("https://inside.example:8443/", &["10.1.2.3"]).await.is_ok());
    assert!(reach("https://10.1.2.3/", &[]).await.is_ok());
    assert!(reach("https://inside.example/", &["10.2.2.3"]).await.is_err());
    assert_eq!(reach("http://inside.example/", &["10.1.2.3"]).await, Err(Refusal::Scheme));
}

#[tokio::test]
async fn a_demonstration_reaches_this_machine_and_nothing_else_more_than_usual() {
    let policy = Policy { allows_loopback: true, ..Policy::default() };
    let reach = async |text, addresses| policy.reach(text, &Fixed(addresses)).await;
    assert!(reach("http://127.0.0.1:3000/in", &[]).await.is_ok());
    assert!(reach("http://localhost:3000/in", &["127.0.0.1", "::1"]).await.is_ok());
    assert_eq!(reach("http://example.com/", &["8.8.8.8"]).await, Err(Refusal::Scheme));
    assert_eq!(reach("https://example.com:3000/", &["8.8.8.8"]).await, Err(Refusal::Port(3000)));
    assert!(matches!(reach("https://example.com/", &["10.0.0.1"]).await, Err(Refusal::Internal(_))));
}
