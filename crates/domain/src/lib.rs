//! What an agent identity is and which changes it allows.
//!
//! Everything here is pure: no I/O, no clock, no randomness. Ids come with commands. Data of other aggregates that a
//! decision needs comes as [`Facts`], which the log looks up.
//!
//! # Code map
//! - [`decider`]: the form of every aggregate, an aggregate of cqrs-es with two pure functions, `decide` and `evolve`.
//! - [`identity`], [`api_key`], [`organization`], [`vault`], [`vault_secret`], [`webhook_subscription`]: one aggregate each, with
//!   its commands, events, errors.
//! - [`aggregate`]: the table of the aggregates, and all as one enum.
//! - [`upcasting`]: events of older versions, made to the present ones.
//! - [`facts`]: the data that a decision needs beyond its own aggregate.
//! - [`json`]: JSON values that others wrote.
//! - [`handle`], [`moment`], [`phone`], [`url`]: values that are always valid.
//!
//! # Glossary
//! - **identity**: the unit of presence of an agent; owns one mailbox and one tunnel.
//! - **handle**: the globally unique name of an identity.
//! - **viewer**, **target**: the identity that sees, and the identity that is seen.
//! - **wildcard**: visibility granted to every active identity of the organization.
//! - **name claim**: a handle taken in one of three namespaces: identities, tunnels, mail.
//! - **pool**: the phone numbers that an operator loaded.
//!
//! # How to add a command
//! 1. Add the variant to the aggregate's `Command` and a guard-clause function beside `decide`.
//! 2. If it produces a new event: add the variant with an explicit wire name, its arm in `evolve`, its name in the table
//!    below the enum, and an example in `events/`. The compiler then names every fold that must handle it.
//! 3. If it needs to know something of another aggregate, say so in `needs` and read it from [`Facts`].

pub mod aggregate;
pub mod api_key;
pub mod decider;
#[cfg(test)]
mod examples;
pub mod facts;
pub mod handle;
pub mod identity;
pub mod json;
pub mod moment;
pub mod organization;
pub mod phone;
#[cfg(test)]
mod testing;
pub mod upcasting;
pub mod url;
pub mod vault;
pub mod vault_secret;
pub mod webhook_subscription;

pub use aggregate::{Command, Event, Kind, Rejection, State};
pub use decider::Decider;
pub use facts::{
    Facts, Namespace, Needs, NumberWish, Offer, SecretSelection, SubscriptionLimit, SubscriptionNeed,
};
pub use handle::Handle;
pub use moment::Moment;
