//! The `Host` of a request.

use std::net::Ipv6Addr;

use axum::http::{HeaderValue, Request, Version, header};

/// Whether the request names its host as it must: one of HTTP/1.1 has one `Host` (RFC 9112, section 3.2), and whatever is named
/// is valid.
pub(super) fn has_valid_host<B>(request: &Request<B>) -> bool {
    let hosts = request.headers().get_all(header::HOST);
    let has_right_number = request.version() != Version::HTTP_11 || hosts.iter().count() == 1;
    has_right_number && hosts.iter().all(is_valid)
}

/// RFC 9110, section 7.2: a host and perhaps a port. The host is empty if the target of the request has none.
fn is_valid(host: &HeaderValue) -> bool {
    let Ok(text) = host.to_str() else { return false };
    if let Some((literal, port)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return is_literal(literal) && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    is_name(name.as_bytes()) && is_port(port)
}

/// An address of IPv6, or of a version to come (RFC 3986, section 3.2.2).
fn is_literal(text: &str) -> bool {
    let future = text.strip_prefix(['v', 'V']).and_then(|text| text.split_once('.'));
    future.map_or_else(
        || text.parse::<Ipv6Addr>().is_ok(),
        |(version, address)| {
            let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_version && !address.is_empty() && address.bytes().all(|byte| byte == b':' || is_plain(byte))
        },
    )
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A registered name or an address of IPv4: unreserved characters, sub-delimiters, and escapes of the form `%41`.
fn is_name(mut text: &[u8]) -> bool {
    loop {
        text = match text {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if is_plain(*byte) => rest,
            _ => return false,
        };
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}
