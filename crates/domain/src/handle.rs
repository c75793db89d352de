//! The name of an identity. A [`Handle`] is always well formed.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A normalized handle: 3 to 63 of `a-z 0-9 -`, first and last alphanumeric, no two hyphens in a row.
/// Contract, section 2.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Handle(String);

/// Why a text is not a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// Fewer than 3 characters.
    #[error("must have at least 3 characters")]
    TooShort,
    /// More than 63 characters.
    #[error("must have at most 63 characters")]
    TooLong,
    /// A character other than `a-z 0-9 -`, a hyphen at either end, or two in a row.
    #[error("must consist of letters, digits and single hyphens, and begin and end with a letter or digit")]
    Malformed,
}

impl Handle {
    /// Removes one leading `@`, converts to lower case, and checks the rest. Nothing else is trimmed (D17).
    pub fn parse(text: &str) -> Result<Self, HandleError> {
        let folded = text.strip_prefix('@').unwrap_or(text).to_ascii_lowercase();
        if folded.chars().count() < 3 {
            return Err(HandleError::TooShort);
        }
        if folded.chars().count() > 63 {
            return Err(HandleError::TooLong);
        }
        if !is_well_formed(&folded) {
            return Err(HandleError::Malformed);
        }
        Ok(Self(folded))
    }

    /// The handle as text, without `@`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the handle is reserved, so that no identity can have it: names of infrastructure, and of the product
    /// itself. Hyphens are ignored, so `sup-port` is reserved like `support`.
    pub(crate) fn is_reserved(&self) -> bool {
        let bare: String = self.0.chars().filter(|&character| character != '-').collect();
        RESERVED.iter().any(|group| group.contains(&bare.as_str())) || is_numbered_host(&bare)
    }
}

/// Whether this is the name of one of several hosts of mail, of names or of the web, such as `mx2` and `ns10`.
fn is_numbered_host(bare: &str) -> bool {
    let kind = bare.trim_end_matches(|character: char| character.is_ascii_digit());
    kind.len() < bare.len() && NUMBERED_HOSTS.contains(&kind)
}

fn is_well_formed(text: &str) -> bool {
    let allowed = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    allowed && !text.starts_with('-') && !text.ends_with('-') && !text.contains("--")
}

impl TryFrom<String> for Handle {
    type Error = HandleError;

    fn try_from(text: String) -> Result<Self, HandleError> {
        Self::parse(&text)
    }
}

impl From<Handle> for String {
    fn from(handle: Handle) -> Self {
        handle.0
    }
}

impl Borrow<str> for Handle {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The reserved names, without hyphens, each group with where its names come from. As the name of an agent, a mail address or a
/// host they would mislead people or machines: whoever has `mta-sts` owns the mail policy of a domain whose mail and tunnels have
/// the same name. A name of fewer than three characters is no handle, so `mx` and `ns` need no line. Hosts that installations
/// number are in [`NUMBERED_HOSTS`].
///
/// The rule applies to new names only. An identity that already has such a name keeps it.
const RESERVED: &[&[&str]] = &[
    // RFC 2142: mailboxes of services, roles and functions, except sales and marketing, which are work that agents do.
    // The mailboxes of RFC 5321 and RFC 822 are among them.
    &[
        "abuse",
        "ftp",
        "hostmaster",
        "info",
        "list",
        "news",
        "noc",
        "postmaster",
        "security",
        "support",
        "usenet",
        "uucp",
        "webmaster",
        "www",
    ],
    // RFC 5321, 3464, 3834, 6650 and common practice: senders and receivers of mail that no person reads.
    &[
        "bounce",
        "bounces",
        "complaints",
        "daemon",
        "donotreply",
        "dsn",
        "fbl",
        "listrequest",
        "mailer",
        "mailerdaemon",
        "noreply",
        "null",
        "returnpath",
        "subscribe",
        "undisclosedrecipients",
        "unsubscribe",
    ],
    // Names that publish the mail policy of a domain: RFC 8461 (mta-sts), 8460 (smtp-tls), 7489 (dmarc), 6376
    // (domainkey), 7208 (spf), 8617 (arc), BIMI.
    &["adsp", "arc", "bimi", "dkim", "dmarc", "domainkey", "mtasts", "smtptls", "spf", "tlsrpt"],
    // Names by which mail clients look for their settings: Autoconfig and Autodiscover; RFC 6186, 6764, 8620 (srv,
    // dav, jmap).
    &[
        "autoconfig",
        "autodiscover",
        "caldav",
        "caldavs",
        "carddav",
        "carddavs",
        "dav",
        "jmap",
        "managesieve",
        "sieve",
        "webdav",
    ],
    // Names by which machines look for services of their domain, or for what a domain has published: Exchange, Lync and device
    // management; RFC 7929 (openpgpkey) and 8162 (smimecert); labels of RFC 8552 without their `_`.
    &[
        "atproto",
        "dnslink",
        "enterpriseenrollment",
        "enterpriseregistration",
        "lyncdiscover",
        "lyncdiscoverinternal",
        "msoid",
        "openpgpkey",
        "sipexternal",
        "sipexternaltls",
        "sipfederationtls",
        "sipinternal",
        "sipinternaltls",
        "smimecert",
        "tcp",
        "uaautoconfig",
        "udp",
        "xmppclient",
        "xmppserver",
    ],
    // Hosts of mail and of its transport, as installations name them. RFC 5321 calls for a postmaster at each.
    &[
        "email",
        "emailer",
        "imap",
        "imaps",
        "lists",
        "listserv",
        "mail",
        "mailbox",
        "mailboxes",
        "mailhost",
        "mailin",
        "mailman",
        "mailout",
        "mailrelay",
        "majordomo",
        "mta",
        "outlook",
        "pop",
        "pop3s",
        "relay",
        "smtp",
        "smtps",
        "submission",
        "submissions",
        "webmail",
    ],
    // Hosts of names and addresses: RFC 1912, 1034 and installations. A cache or client asks them by these names.
    &["dhcp", "dns", "kdc", "kerberos", "ldap", "ldaps", "nameserver", "ntp", "radius", "resolver"],
    // RFC 6761, 6762, 8375, 7686 and 2606: special names that are no hosts of anybody.
    &[
        "broadcasthost",
        "example",
        "homearpa",
        "invalid",
        "ip6localhost",
        "ip6loopback",
        "local",
        "localdomain",
        "localhost",
        "loopback",
        "onion",
        "test",
    ],
    // Names that machines look for by themselves: WPAD, ISATAP (RFC 5214), Teredo, 6to4, LLMNR and NetBIOS.
    &["6to4", "gateway", "isatap", "proxy", "router", "teredo", "workgroup", "wpad"],
    // RFC 8555 and 8615, and what serves certificates and well-known files of a domain.
    &[
        "acme",
        "acmechallenge",
        "acmev02",
        "cert",
        "certificate",
        "certs",
        "crl",
        "ocsp",
        "pki",
        "pkivalidation",
        "ssl",
        "ssladmin",
        "ssladministrator",
        "sslwebmaster",
        "sysadmin",
        "tls",
        "wellknown",
    ],
    // Constructed addresses of the Baseline Requirements of the CA/Browser Forum: whoever reads these mailboxes gets
    // certificates of the domain.
    &["admin", "administrator", "root"],
    // Protocols of agents and of the paths of this API, which published clients put where a handle may stand.
    &[
        "a2a",
        "agent",
        "agentcard",
        "agents",
        "anyone",
        "apikeys",
        "everyone",
        "identities",
        "identity",
        "identityd",
        "imessage",
        "internal",
        "keys",
        "mcp",
        "phone",
        "phones",
        "private",
        "public",
        "signingkey",
        "signingkeys",
        "tunnel",
        "tunnels",
        "undefined",
        "vault",
        "whoami",
        "wildcard",
    ],
    // Names of the web and of services beside it, in the registry of ports (RFC 6335) and in installations.
    &[
        "account",
        "accounts",
        "api",
        "apis",
        "app",
        "apps",
        "assets",
        "auth",
        "billing",
        "blog",
        "cdn",
        "console",
        "cpanel",
        "dashboard",
        "dev",
        "docs",
        "download",
        "downloads",
        "ftps",
        "git",
        "help",
        "helpdesk",
        "http",
        "https",
        "irc",
        "jabber",
        "login",
        "logout",
        "metrics",
        "oauth",
        "oauth2",
        "oidc",
        "openid",
        "panel",
        "payments",
        "plesk",
        "prod",
        "production",
        "relay1",
        "rsync",
        "saml",
        "server",
        "sftp",
        "signin",
        "signup",
        "sip",
        "sips",
        "ssh",
        "sso",
        "staging",
        "static",
        "status",
        "stun",
        "svn",
        "telnet",
        "tftp",
        "turn",
        "user",
        "users",
        "vpn",
        "web",
        "whm",
        "xmpp",
    ],
    // People and roles whose name would mislead.
    &["contact", "dpo", "official", "operator", "owner", "privacy", "system"],
];

/// Names that are reserved with any number behind them, such as `mx2`.
const NUMBERED_HOSTS: [&str; 10] = ["dns", "imap", "mail", "mta", "mx", "ns", "ntp", "pop", "smtp", "www"];

#[cfg(test)]
mod tests;
