//! Agent visibility: nobody, some, or everyone; never a mixture.

mod explicit;
mod refusals;
mod rights;
mod status;
mod wildcard;

use serde_json::{Value, json};

/// Viewers in the form that a list of rows shows them, in its order: oldest grant first.
fn rows(viewer_ids: &[&str]) -> Vec<Value> {
    viewer_ids.iter().map(|id| json!(id)).collect()
}
