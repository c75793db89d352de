//! Read models of the event log.
//!
//! # Code map
//! - [`projection`]: what every read model consists of, and the live fold of read models with one row for each aggregate;
//!   [`rows`]: the live fold of read models with several rows for each aggregate.
//! - [`columns`]: the columns of a table, declared once.
//! - [`identities`] (with its [`document`]), [`visibility`], [`vault_access`]: folded from identities.
//! - [`api_keys`], [`organizations`], [`vault_secrets`], [`webhook_subscriptions`]: folded from the aggregate of the same name.
//! - [`states`]: what the folds have made of long histories, at some of their events.
//! - [`finder`]: single identities and keys, looked up for many callers at once.
//! - [`key_uses`]: when keys were last used, which is no read model.
//! - [`past`]: identities at an earlier moment, by the same folds.
//! - [`table`]: a read model as jobs use it; [`rebuild`]: the jobs; [`registry`]: version, last job and last
//!   verification of every read model.
//! - [`versioned`]: a row with the version of its aggregate.
//! - [`claims`]: tables that are no read models and decide who has a name: compared with the read models, and made again.
//! - [`second_reader`]: the comparison of our reader and the read models with what postgres-es and cqrs-es load.
//!
//! # Invariants, as absences
//! - No read model folds events of two aggregates. Queries join where aggregates meet (a viewer that was deleted, a
//!   key whose identity was deleted).
//! - No row of a read model is computed except by its fold. Live writes, rebuilds, reads of the past and the answers to
//!   grants call the same fold.
//! - No read model lags: its rows are written in the transaction of the events.
//!
//! # How to add a read model
//! One file: the row with its columns, `fold`, its [`projection::LoadedModel`] or [`rows::RowModel`], and its queries; its
//! table in a migration; its line in [`tables`]. A column is a field of the row and a line in a migration.

pub mod api_keys;
pub mod bodies;
pub mod change;
pub mod claims;
pub mod columns;
pub mod document;
pub mod finder;
pub mod former;
pub mod identities;
mod job_error;
pub mod key_uses;
pub mod lost_ciphertexts;
pub mod organizations;
pub mod past;
pub mod projection;
pub mod rebuild;
pub mod registry;
pub mod rows;
pub mod second_reader;
mod shown_access;
pub mod states;
pub mod table;
pub mod vault_access;
pub mod vault_secrets;
pub mod versioned;
pub mod visibility;
pub mod webhook_subscriptions;

use std::sync::Arc;

use identity_log::ReadModel;

pub use change::Change;
pub use projection::{LiveProjection, Projection};
pub use table::Table;

/// Every read model, as jobs use it.
pub fn tables() -> Vec<Arc<dyn Table>> {
    vec![
        Arc::new(LiveProjection::<identities::Identities>::new()),
        Arc::new(LiveProjection::<visibility::VisibilityRows>::new()),
        Arc::new(LiveProjection::<vault_access::VaultAccess>::new()),
        Arc::new(LiveProjection::<api_keys::ApiKeys>::new()),
        Arc::new(LiveProjection::<organizations::Organizations>::new()),
        Arc::new(LiveProjection::<vault_secrets::VaultSecrets>::new()),
        Arc::new(LiveProjection::<webhook_subscriptions::WebhookSubscriptions>::new()),
        Arc::new(LiveProjection::<states::IdentityStates>::new()),
        Arc::new(LiveProjection::<states::ApiKeyStates>::new()),
        Arc::new(LiveProjection::<states::VaultStates>::new()),
        Arc::new(LiveProjection::<states::VaultSecretStates>::new()),
        Arc::new(LiveProjection::<states::WebhookSubscriptionStates>::new()),
    ]
}

/// Every read model, as the log writes it.
pub fn all() -> Vec<Arc<dyn ReadModel>> {
    tables().into_iter().map(|table| -> Arc<dyn ReadModel> { table }).collect()
}
