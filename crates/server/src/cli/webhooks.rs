//! `identityd webhooks`.

use clap::Subcommand;
use uuid::Uuid;

use super::Installation;
use super::deliveries::{self, ListFlags};
use super::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List what was sent to a subscription and what was answered, the newest first
    Deliveries(ListFlags),
    /// Send now what waits for another attempt at a subscription
    Retry {
        /// Id of the subscription
        subscription: Uuid,
    },
}

pub(super) async fn run(command: Command, installation: &Installation, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Deliveries(flags) => deliveries::list(&flags, installation, output).await,
        Command::Retry { subscription } => deliveries::retry(subscription, installation, output).await,
    }
}
