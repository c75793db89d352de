//! `identityd openapi`: the document that the service answers with at `/openapi.json`.

use identity_http::document;
use identity_http::openapi::Ordered;
use serde_json::Value;

use super::output::Output;

pub(super) fn run(output: Output) -> anyhow::Result<()> {
    let document: Value = serde_json::from_str(document())?;
    let text = serde_json::to_string_pretty(&Ordered(&document))?;
    output.print_lines(&document, &text.lines().collect::<Vec<_>>())
}
