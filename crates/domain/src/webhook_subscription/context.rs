//! How much of a conversation is sent along with a message. Contract, section 10.6.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How much is sent along of mails, texts and calls. A class that is `None` is not sent along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ContextConfig {
    /// Of mails.
    #[schema(required)]
    pub email: Option<ClassContext>,
    /// Of texts.
    #[schema(required)]
    pub texts: Option<ClassContext>,
    /// Of calls.
    #[schema(required)]
    pub calls: Option<ClassContext>,
}

/// How much is sent along of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum ClassContext {
    /// The last messages or calls.
    Count {
        /// How many.
        count: u8,
    },
    /// The messages or calls of the last hours.
    Window {
        /// How many hours.
        hours: u8,
    },
}

impl ClassContext {
    /// The largest count.
    pub const MAX_COUNT: u8 = 50;
    /// The largest number of hours.
    pub const MAX_HOURS: u8 = 168;
}
