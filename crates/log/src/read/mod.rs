//! Reading the log. What this module itself offers are pages by position.

pub mod copy;
pub mod count;
pub mod feeds;
pub mod follow;
pub mod history;
pub(crate) mod pages;
pub mod past;
pub mod scan;

pub use pages::{
    Change, LogState, Selection, changes, head, lifetime, page, selected, shown_history, state, version,
};
