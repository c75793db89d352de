//! The JSON of etcd's gateway: bytes are in base64, 64-bit numbers are text, and members with a value of zero are left out.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use identity_log::proof::memory::{Entry, Revision};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::EtcdError;

/// A read of one key. It is linearizable, since it does not ask for less.
#[derive(Debug, Serialize)]
pub(crate) struct Range<'a> {
    key: Bytes<'a>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RangeAnswer {
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Debug, Deserialize)]
struct KeyValue {
    #[serde(default)]
    value: String,
    #[serde(deserialize_with = "number")]
    mod_revision: Revision,
}

/// Puts a value under a key, if nobody has since this revision.
#[derive(Debug, Serialize)]
pub(crate) struct Transaction<'a> {
    compare: [Compare<'a>; 1],
    success: [Request<'a>; 1],
}

#[derive(Debug, Serialize)]
struct Compare<'a> {
    key: Bytes<'a>,
    target: &'static str,
    result: &'static str,
    mod_revision: String,
}

#[derive(Debug, Serialize)]
struct Request<'a> {
    request_put: Put<'a>,
}

#[derive(Debug, Serialize)]
struct Put<'a> {
    key: Bytes<'a>,
    value: Bytes<'a>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TransactionAnswer {
    #[serde(default)]
    succeeded: bool,
    header: Header,
}

#[derive(Debug, Deserialize)]
struct Header {
    #[serde(deserialize_with = "number")]
    revision: Revision,
}

/// Name and password.
#[derive(Serialize)]
pub(crate) struct Authentication<'a> {
    pub(crate) name: &'a str,
    pub(crate) password: &'a str,
}

#[derive(Deserialize)]
pub(crate) struct AuthenticationAnswer {
    pub(crate) token: String,
}

/// What etcd says when it refuses a request.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct RefusalAnswer {
    #[serde(default)]
    pub(crate) message: String,
}

impl<'a> Range<'a> {
    pub(crate) fn of(name: &'a str) -> Self {
        Self { key: Bytes(name) }
    }
}

impl RangeAnswer {
    pub(crate) fn entry(self) -> Result<Option<Entry>, EtcdError> {
        let Some(KeyValue { value, mod_revision }) = self.kvs.into_iter().next() else { return Ok(None) };
        let bytes = BASE64_STANDARD.decode(value).map_err(|_| EtcdError::Value)?;
        let text = String::from_utf8(bytes).map_err(|_| EtcdError::Value)?;
        Ok(Some(Entry { text, revision: mod_revision }))
    }
}

impl<'a> Transaction<'a> {
    pub(crate) fn replace(name: &'a str, text: &'a str, revision: Revision) -> Self {
        let (key, target, result) = (Bytes(name), "MOD", "EQUAL");
        Self {
            compare: [Compare { key, target, result, mod_revision: revision.to_string() }],
            success: [Request { request_put: Put { key, value: Bytes(text) } }],
        }
    }
}

impl TransactionAnswer {
    /// The new revision; `None` if somebody has changed the key.
    pub(crate) fn revision(&self) -> Option<Revision> {
        self.succeeded.then_some(self.header.revision)
    }
}

/// A text that is written as bytes.
#[derive(Debug, Clone, Copy)]
struct Bytes<'a>(&'a str);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(self.0))
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Revision, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}
