//! Read models of the event log.
//!
//! # Code map
//! - [`projection`]: what every read model consists of, and the engine that keeps one row an aggregate up to date inside an
//!   append; [`rows`]: the engine for several rows an aggregate.
//! - [`identities`] (with its [`document`]), [`visibility`], [`vault_access`]: folded from identities.
//! - [`api_keys`], [`organizations`], [`vault_secrets`]: folded from the aggregate of the same name.
//! - [`past`]: identities as they were, by the same folds.
//! - [`table`]: a read model as jobs see it; [`rebuild`]: the jobs; [`registry`]: what is known of every read model.
//!
//! # Invariants, as absences
//! - No read model folds events of two aggregates. What crosses aggregates (a viewer that is gone, a key whose identity
//!   is deleted) is a join when it is read.
//! - Nothing but a fold says how a row comes about; live writes and rebuilds call the same one.
//! - No read model is behind: it is written in the transaction of the events it follows.
//!
//! # How to add a read model
//! One file: the row, `fold`, its [`projection::LoadedModel`] or [`rows::RowModel`], and its queries; its table in a migration; its line in [`tables`].

pub mod api_keys;
pub mod document;
pub mod identities;
pub mod organizations;
pub mod past;
pub mod projection;
pub mod rebuild;
pub mod registry;
pub mod rows;
pub mod table;
pub mod vault_access;
pub mod vault_secrets;
pub mod visibility;

use std::sync::Arc;

use identity_log::ReadModel;

pub use projection::{Change, Live, Projection};
pub use table::Table;

/// Every read model, as jobs see it.
pub fn tables() -> Vec<Arc<dyn Table>> {
    vec![
        Arc::new(Live::<identities::Identities>::new()),
        Arc::new(Live::<visibility::VisibilityRows>::new()),
        Arc::new(Live::<vault_access::VaultAccess>::new()),
        Arc::new(Live::<api_keys::ApiKeys>::new()),
        Arc::new(Live::<organizations::Organizations>::new()),
        Arc::new(Live::<vault_secrets::VaultSecrets>::new()),
    ]
}

/// Every read model, as the log keeps them up to date.
pub fn all() -> Vec<Arc<dyn ReadModel>> {
    tables().into_iter().map(|table| -> Arc<dyn ReadModel> { table }).collect()
}
