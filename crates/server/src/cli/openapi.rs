//! `identityd openapi`: the document that the service answers with at `/openapi.json`.

use serde_json::Value;

use super::output::Output;

pub(super) fn run(output: Output) -> anyhow::Result<()> {
    let document: Value = serde_json::from_str(identity_http::openapi::document())?;
    let text = serde_json::to_string_pretty(&document)?;
    output.print_lines(&document, &text.lines().collect::<Vec<_>>())
}
