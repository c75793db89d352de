//! The kinds of aggregates whose states are stored: all but organizations, which have one event.

use identity_domain::Kind;
use identity_log::DecisionState;

use super::identity_rows::IdentityRows;
use super::model::States;
use crate::columns::Index;
use crate::identities::Identities;
use crate::projection::Projection as _;
use crate::vault_access::VaultAccess;
use crate::visibility::VisibilityRows;

/// States of identities. They also have the rows from which questions about the past are answered.
#[derive(Debug)]
pub struct IdentityStates;

impl States for IdentityStates {
    const NAME: &'static str = "identity_states";
    // A new version of a fold is a new version of what it has folded.
    const VERSION: i32 =
        DecisionState::VERSION + Identities::VERSION + VisibilityRows::VERSION + VaultAccess::VERSION;
    const KIND: Kind = Kind::Identity;
    const INDEXES: &'static [Index] =
        &[Index::of("identity_states_moment", "(aggregate_id, organization_sequence)")];
    type Rows = IdentityRows;
}

/// Declares the read model of states that are read for decisions only.
macro_rules! states_for_decisions {
    ($(#[$about:meta])* $name:ident, $table:literal, $kind:ident) => {
        $(#[$about])*
        #[derive(Debug)]
        pub struct $name;

        impl States for $name {
            const NAME: &'static str = $table;
            const VERSION: i32 = DecisionState::VERSION;
            const KIND: Kind = Kind::$kind;
            type Rows = ();
        }
    };
}

states_for_decisions! {
    /// States of API keys.
    ApiKeyStates, "api_key_states", ApiKey
}
states_for_decisions! {
    /// States of vaults.
    VaultStates, "vault_states", Vault
}
states_for_decisions! {
    /// States of vault secrets.
    VaultSecretStates, "vault_secret_states", VaultSecret
}
states_for_decisions! {
    /// States of webhook subscriptions.
    WebhookSubscriptionStates, "webhook_subscription_states", WebhookSubscription
}
