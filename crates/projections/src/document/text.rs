//! JSON text of a document.

use std::sync::{Arc, OnceLock};

use serde::Serialize;

/// JSON text of a document, once somebody has asked for it; clones share it. It follows from the document, so two of them are equal.
#[derive(Debug, Clone, Default)]
pub(crate) struct DocumentText(Arc<OnceLock<String>>);

impl DocumentText {
    /// The text of this document, which is always the same one.
    pub(crate) fn of(&self, document: &impl Serialize) -> Result<&str, serde_json::Error> {
        if let Some(text) = self.0.get() {
            return Ok(text);
        }
        let text = serde_json::to_string(document)?;
        Ok(self.0.get_or_init(|| text))
    }
}

impl PartialEq for DocumentText {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for DocumentText {}
