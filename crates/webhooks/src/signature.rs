//! Signatures of webhooks: two families of headers over one secret, so that receivers written for either accept them.
//!
//! | | hosted service | Standard Webhooks |
//! |---|---|---|
//! | headers | `x-inkbox-request-id`, `x-inkbox-timestamp`, `x-inkbox-signature` | `webhook-id`, `webhook-timestamp`, `webhook-signature` |
//! | key of the HMAC-SHA256 | the text after `whsec_` | the bytes that this text encodes |
//! | signed text | `{request id}.{timestamp}.{body}` | `{event id}.{timestamp}.{body}` |
//! | signature | `sha256=` and hexadecimal | `v1,` and base64 |

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac as _};
use hyper::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use identity_log::signing_keys::SigningKey;
use sha2::Sha256;
use time::OffsetDateTime;

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Identifies the attempt.
    pub request_id: &'a str,
    /// Identifies the event, in every attempt.
    pub event_id: &'a str,
    /// When it is sent.
    pub moment: OffsetDateTime,
    /// The body.
    pub body: &'a [u8],
}

impl Signed<'_> {
    /// The headers of both families.
    pub fn headers(&self, key: &SigningKey) -> Result<HeaderMap, InvalidHeaderValue> {
        let timestamp = self.moment.unix_timestamp().to_string();
        let hosted = hex(&self.mac(key.hmac_key(), self.request_id, &timestamp));
        let standard = BASE64_STANDARD.encode(self.mac(&decoded(key), self.event_id, &timestamp));
        let headers = [
            ("x-inkbox-request-id", self.request_id),
            ("x-inkbox-timestamp", &timestamp),
            ("x-inkbox-signature", &format!("sha256={hosted}")),
            ("webhook-id", self.event_id),
            ("webhook-timestamp", &timestamp),
            ("webhook-signature", &format!("v1,{standard}")),
        ];
        let header = |(name, value)| Ok((HeaderName::from_static(name), HeaderValue::from_str(value)?));
        headers.into_iter().map(header).collect()
    }

    fn mac(&self, key: &[u8], id: &str, timestamp: &str) -> Vec<u8> {
        // HMAC takes keys of every length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return vec![] };
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(self.body);
        mac.finalize().into_bytes().to_vec()
    }
}

/// The bytes that the text of the key encodes. Every key is made as base64.
fn decoded(key: &SigningKey) -> Vec<u8> {
    BASE64_STANDARD.decode(key.hmac_key()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _: std::fmt::Result = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use identity_log::signing_keys::SigningKey;
    use standardwebhooks::Webhook;
    use time::OffsetDateTime;

    use super::Signed;

    const BODY: &[u8] = r#"{"id":"evt_1","name":"Ünïted"}"#.as_bytes();

    #[expect(
        clippy::disallowed_methods,
        reason = "the library of Standard Webhooks compares the moment with the clock"
    )]
    fn headers(key: &SigningKey) -> hyper::HeaderMap {
        let moment = OffsetDateTime::now_utc();
        Signed { request_id: "attempt", event_id: "evt_1", moment, body: BODY }.headers(key).unwrap()
    }

    fn is_accepted_by_published_client(key: &SigningKey, headers: &hyper::HeaderMap, body: &[u8]) -> bool {
        let headers: HashMap<String, String> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        inkbox::signing_keys::verify_webhook(body, &headers, key.text()).unwrap()
    }

    #[test]
    fn a_receiver_of_either_world_accepts_the_same_request() {
        let key = SigningKey::generate().unwrap();
        let headers = headers(&key);
        assert!(is_accepted_by_published_client(&key, &headers, BODY));
        Webhook::new(key.text()).unwrap().verify(BODY, &headers).unwrap();
    }

    #[test]
    fn neither_accepts_another_body_or_another_key() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let headers = headers(&key);
        for (key, body) in [(&key, &b"{}"[..]), (&other, BODY)] {
            assert!(!is_accepted_by_published_client(key, &headers, body));
            assert!(Webhook::new(key.text()).unwrap().verify(body, &headers).is_err());
        }
    }
}
