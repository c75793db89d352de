//! C2SP tlog-witness: what is sent to a witness, and what it answers.

use anyhow::{Context as _, bail};
use identity_proof::Hash;
use identity_webhooks::attempt::Attempt;

/// What a witness answers.
pub(super) enum Answer {
    /// Lines of signatures.
    Lines(String),
    /// It has cosigned a checkpoint of this size last.
    Size(u64),
    /// It does not cosign.
    Refused(u16),
}

/// A request to cosign a checkpoint. `proof` leads from the size that the witness has to the size of the checkpoint.
pub(super) fn request(size: u64, proof: &[Hash], note: &str) -> String {
    let lines: Vec<String> =
        [format!("old {size}")].into_iter().chain(proof.iter().map(Hash::to_string)).collect();
    format!("{}\n\n{note}", lines.join("\n"))
}

impl Answer {
    /// Reads the answer. Fails if the witness could not be asked, or could not answer.
    pub(super) fn read(attempt: Attempt) -> anyhow::Result<Self> {
        if let Some(error) = attempt.error {
            bail!(error);
        }
        let body = attempt.body.unwrap_or_default();
        match attempt.status.unwrap_or_default() {
            200 => Ok(Self::Lines(body)),
            409 => body.trim_end().parse().map(Self::Size).context("it answers 409 without a size"),
            status @ 400..500 if !matches!(status, 408 | 429) => Ok(Self::Refused(status)),
            status => bail!("it answers {status}"),
        }
    }
}
