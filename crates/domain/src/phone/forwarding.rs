//! Where calls are forwarded to: a phone number, or an address of SIP.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest SIP address, in characters.
pub const LONGEST_SIP_URI: usize = 2048;

/// The kind of target to which calls are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForwardingTargetType {
    /// A phone number.
    Phone,
    /// An address of SIP.
    Sip,
}

/// Changes of the target to which calls are forwarded. `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForwardingChange {
    /// The kind of target. A target of another kind is given up.
    pub target_type: Option<Option<ForwardingTargetType>>,
    /// The phone number.
    pub phone_number: Option<Option<String>>,
    /// The address of SIP.
    pub sip_uri: Option<Option<String>>,
}

/// The text is no phone number in E.164.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a phone number in E.164, such as +12125550100")]
pub struct NumberError;

/// Checks that the text is a plus sign and 7 to 15 digits, the first of which is not 0.
pub fn check_number(text: &str) -> Result<(), NumberError> {
    let digits = text.strip_prefix('+').ok_or(NumberError)?;
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit()) && !digits.starts_with('0');
    if is_number && (7..=15).contains(&digits.len()) { Ok(()) } else { Err(NumberError) }
}

/// The text is no address of SIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be sip:user@host or sips:user@host, where host is a public DNS name")]
pub struct SipError;

/// Top-level domains that are not in the public DNS (RFC 2606, RFC 6761, RFC 6762, RFC 8375).
const PRIVATE_DOMAINS: [&str; 8] =
    ["arpa", "internal", "invalid", "lan", "local", "localdomain", "localhost", "onion"];

/// Checks that the text is `sip:` or `sips:`, perhaps a user and `@`, a public host, perhaps a port, and perhaps
/// parameters.
pub fn check_sip_uri(text: &str) -> Result<(), SipError> {
    let (scheme, rest) = text.split_once(':').ok_or(SipError)?;
    let is_sip = scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips");
    let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    let (address, _) = rest.split_once([';', '?']).unwrap_or((rest, ""));
    let (user, place) = address.rsplit_once('@').map_or((None, address), |(user, place)| (Some(user), place));
    let (host, port) = place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)));
    let has_user = user.is_none_or(|user| !user.is_empty() && !user.contains('@'));
    let has_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let is_good = is_sip && is_visible && has_user && has_port && is_public_host(host);
    if is_good && text.len() <= LONGEST_SIP_URI { Ok(()) } else { Err(SipError) }
}

/// Whether the host is a name of the public DNS. An address of IP is none.
fn is_public_host(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let Some((_, domain)) = host.rsplit_once('.') else {
        return false;
    };
    let is_private = PRIVATE_DOMAINS.contains(&domain) || host.parse::<Ipv4Addr>().is_ok();
    let starts_with_letter = domain.starts_with(|letter: char| letter.is_ascii_lowercase());
    host.len() <= 253 && host.split('.').all(is_label) && starts_with_letter && !is_private
}

fn is_label(label: &str) -> bool {
    let allowed = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    allowed && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}
