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
    pub fn is_reserved(&self) -> bool {
        let bare: String = self.0.chars().filter(|&character| character != '-').collect();
        RESERVED.contains(&bare.as_str())
    }
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

/// The reserved names, without hyphens. As the name of an agent, a mail address or a host they would mislead people. `a2a` is
/// a part of paths that published clients ask for.
const RESERVED: &[&str] = &[
    "a2a",
    "abuse",
    "account",
    "accounts",
    "admin",
    "administrator",
    "agent",
    "agents",
    "api",
    "apis",
    "app",
    "apps",
    "auth",
    "autoconfig",
    "autodiscover",
    "billing",
    "blog",
    "bounce",
    "bounces",
    "cdn",
    "console",
    "contact",
    "dashboard",
    "dev",
    "dns",
    "docs",
    "email",
    "everyone",
    "ftp",
    "gateway",
    "help",
    "helpdesk",
    "hostmaster",
    "http",
    "https",
    "identities",
    "identity",
    "identityd",
    "imap",
    "info",
    "internal",
    "localhost",
    "login",
    "mail",
    "mailer",
    "mailerdaemon",
    "mailbox",
    "metrics",
    "mta",
    "mx1",
    "mx2",
    "news",
    "noc",
    "noreply",
    "ns1",
    "ns2",
    "oauth",
    "openid",
    "operator",
    "owner",
    "payments",
    "phone",
    "pop",
    "pop3",
    "postmaster",
    "private",
    "prod",
    "production",
    "proxy",
    "public",
    "relay",
    "root",
    "security",
    "server",
    "signup",
    "sftp",
    "smtp",
    "ssh",
    "ssl",
    "sso",
    "staging",
    "static",
    "status",
    "support",
    "sysadmin",
    "system",
    "test",
    "tls",
    "tunnel",
    "tunnels",
    "undefined",
    "usenet",
    "uucp",
    "vault",
    "vpn",
    "webmail",
    "webmaster",
    "whoami",
    "wildcard",
    "wpad",
    "www",
];

#[cfg(test)]
mod tests;
