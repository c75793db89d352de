//! JSON values that stay text.

use std::fmt;

use identity_proof::canonical::text::rewrite;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// A JSON value, kept as its canonical text. As a tree, a value that others made could take 100 times as much memory.
#[derive(Clone, Serialize)]
pub struct CanonicalJson(Box<RawValue>);

impl CanonicalJson {
    /// The value of a JSON text. Fails if an object in it has a member twice.
    pub fn parse(json: &[u8]) -> serde_json::Result<Self> {
        let text = String::from_utf8(rewrite(json)?).map_err(serde_json::Error::custom)?;
        RawValue::from_string(text).map(Self)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl<'de> Deserialize<'de> for CanonicalJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(text.get().as_bytes()).map_err(D::Error::custom)
    }
}

impl PartialEq for CanonicalJson {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for CanonicalJson {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
