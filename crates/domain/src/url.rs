//! Addresses that the platform calls or connects to for an identity. Scheme and host are checked; the text is kept as
//! given.

/// The text is not a valid address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a {scheme}:// URL of at most 2048 characters with a host")]
pub struct UrlError {
    scheme: &'static str,
}

/// Checks that `text` is `scheme://host…`, without white space or control characters.
pub fn check(scheme: &'static str, text: &str) -> Result<(), UrlError> {
    let host = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")).unwrap_or_default();
    let starts_with_host =
        host.starts_with(|character: char| character.is_alphanumeric() || character == '[');
    let clean = !text.contains(|character: char| character.is_whitespace() || character.is_control());
    if starts_with_host && clean && text.len() <= 2048 { Ok(()) } else { Err(UrlError { scheme }) }
}

#[cfg(test)]
mod tests;
