use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::{ClientAddress, ForwardedHeader, TrustedProxies};

fn client(header: ForwardedHeader, peer: &str, lines: &[(&'static str, &'static str)]) -> String {
    let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap());
    let proxies = TrustedProxies { networks: networks.to_vec(), header };
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let ClientAddress(address) = proxies.client(peer.parse().unwrap(), &headers);
    address.to_string()
}

fn x_forwarded_for(peer: &str, value: &'static str) -> String {
    client(ForwardedHeader::XForwardedFor, peer, &[("x-forwarded-for", value)])
}

fn forwarded(peer: &str, value: &'static str) -> String {
    client(ForwardedHeader::Forwarded, peer, &[("forwarded", value)])
}

#[test]
fn a_stranger_is_not_believed() {
    assert_eq!(x_forwarded_for("192.0.2.1", "198.51.100.7"), "192.0.2.1");
    assert_eq!(forwarded("192.0.2.1", "for=198.51.100.7"), "192.0.2.1");
}

#[test]
fn a_trusted_proxy_is_believed_as_far_as_it_knows() {
    assert_eq!(x_forwarded_for("10.0.0.1", "198.51.100.7"), "198.51.100.7");
    assert_eq!(x_forwarded_for("10.0.0.1", "203.0.113.9, 198.51.100.7"), "198.51.100.7");
    assert_eq!(x_forwarded_for("10.0.0.1", "198.51.100.7, 10.0.0.2"), "198.51.100.7");
    assert_eq!(x_forwarded_for("10.0.0.1", "203.0.113.9, unknown"), "10.0.0.1");
    assert_eq!(x_forwarded_for("10.0.0.1", "203.0.113.9, x, 10.0.0.2"), "10.0.0.2");
    assert_eq!(client(ForwardedHeader::XForwardedFor, "10.0.0.1", &[]), "10.0.0.1");
}

#[test]
fn several_lines_are_one_list() {
    let lines = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "198.51.100.7, 10.0.0.2")];
    assert_eq!(client(ForwardedHeader::XForwardedFor, "10.0.0.1", &lines), "198.51.100.7");
}

#[test]
fn the_standard_header_is_read_in_all_its_spellings() {
    assert_eq!(forwarded("10.0.0.1", "for=198.51.100.7;proto=https"), "198.51.100.7");
    assert_eq!(forwarded("10.0.0.1", "proto=https; For=\"198.51.100.7:4711\""), "198.51.100.7");
    assert_eq!(forwarded("10.0.0.1", "for=\"[2001:db9::17]:4711\""), "2001:db9::17");
    assert_eq!(forwarded("10.0.0.1", "for=\"[2001:db9::17]\", for=10.1.1.1"), "2001:db9::17");
    assert_eq!(forwarded("10.0.0.1", "for=_hidden"), "10.0.0.1");
    assert_eq!(forwarded("2001:db8::1", "for=198.51.100.7"), "198.51.100.7");
}

#[test]
fn only_the_header_that_was_chosen_is_read() {
    let lines = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=198.51.100.7")];
    assert_eq!(client(ForwardedHeader::XForwardedFor, "10.0.0.1", &lines), "203.0.113.9");
    assert_eq!(client(ForwardedHeader::Forwarded, "10.0.0.1", &lines), "198.51.100.7");
}

#[test]
fn a_version_4_address_in_version_6_clothes_is_itself() {
    assert_eq!(x_forwarded_for("::ffff:10.0.0.1", "::ffff:198.51.100.7"), "198.51.100.7");
}
