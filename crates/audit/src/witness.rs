//! Witnesses: whether somebody who is independent of the operator has seen a checkpoint.

use std::fmt;

use anyhow::{Context as _, bail};
use identity_proof::{Checkpoint, CosignerKey};
use serde_json::{Value, json};

use crate::time::utc;

/// A checkpoint that a witness has cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// The name of the witness.
    pub witness: String,
    /// How many events the checkpoint has.
    pub size: u64,
    /// When it was cosigned, in seconds since the beginning of 1970.
    pub time: u64,
}

impl Witnessed {
    pub(crate) fn json(&self) -> Value {
        json!({ "witness": self.witness, "size": self.size, "cosigned_at": utc(self.time) })
    }
}

impl fmt::Display for Witnessed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { witness, size, time } = self;
        write!(formatter, "{witness} has cosigned the first {size} events at {}", utc(*time))
    }
}

/// The verifier keys of witnesses, as `--witness` has them.
pub fn keys(texts: &[String]) -> anyhow::Result<Vec<CosignerKey>> {
    texts.iter().map(|text| CosignerKey::parse(text).with_context(|| format!("--witness {text}"))).collect()
}

/// What the witnesses with these keys have cosigned: for each witness, the first of these notes that it has cosigned. Fails if a
/// witness has cosigned none of them.
pub fn require(keys: &[CosignerKey], notes: &[&str]) -> anyhow::Result<Vec<Witnessed>> {
    keys.iter().map(|key| find(key, notes)).collect()
}

fn find(key: &CosignerKey, notes: &[&str]) -> anyhow::Result<Witnessed> {
    for note in notes {
        if let Some(cosignature) = key.find(note)? {
            let size = Checkpoint::read(note)?.size;
            return Ok(Witnessed { witness: key.name().to_owned(), size, time: cosignature.time });
        }
    }
    bail!("{} has cosigned neither the checkpoint of this file nor the earlier one", key.name())
}
