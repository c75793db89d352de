//! Reading the log. What this module itself offers are pages by position.

pub mod copy;
pub mod count;
pub mod feeds;
pub mod follow;
pub mod history;
pub(crate) mod leaf;
pub mod life;
pub mod moment;
pub(crate) mod pages;
pub mod past;
pub mod scan;

pub use pages::{
    Change, LogState, at, changes, head, is_id_of_another_type, joined_version, lifetime, page,
    shown_history, state, version,
};
