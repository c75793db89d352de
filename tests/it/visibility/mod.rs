//! Visibility: an identity is seen by nobody, by named viewers, or by everybody, and never by a mixture.

mod explicit;
mod refusals;
mod rights;
mod status;
mod wildcard;

use serde_json::{Value, json};

/// Viewers, as a list of access rows shows them: the oldest grant first.
fn rows(viewer_ids: &[&str]) -> Vec<Value> {
    viewer_ids.iter().map(|id| json!(id)).collect()
}
