//! Published clients of every tested release: what they send, what they read, and which operations are served.

mod fields;
mod modes;
mod next;
pub(crate) mod python;
mod vault;
