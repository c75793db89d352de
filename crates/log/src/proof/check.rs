//! Checks of a log that sign nothing.

use std::ops::Range;

use identity_proof::Hash;
use sqlx::PgConnection;

use super::error::SignError;
use super::refusal::Refusal;
use super::signed_before::{SignedBefore, lock};
use super::signer::{LEAVES_PER_READ, Signer, continued};
use super::unsigned::read_next;

impl Signer {
    /// Checks a log as signing it would, without signing it. Fails if it is refused.
    pub async fn check(&self, organization_id: &str) -> Result<(), SignError> {
        // Nothing is committed.
        let mut transaction = self.pool.begin().await?;
        let head = lock(&mut transaction, organization_id).await?;
        let before = SignedBefore::find(&mut transaction, &self.key, &self.memory, organization_id).await?;
        let mut tree = continued(&mut transaction, organization_id, &before, head).await?.frontier;
        let unsigned = tree.size()..head;
        self.check_events(&mut transaction, organization_id, unsigned, |leaf| {
            tree.append(leaf);
            before.check_at(tree.size(), || tree.root())
        })
        .await
    }

    /// Checks that this installation wrote all events after the sequence `after`. Fails with [`Refusal::Unsealed`] if an event has
    /// no valid seal. Nothing else of the log is checked.
    pub async fn check_seals(&self, organization_id: &str, after: u64) -> Result<(), SignError> {
        let mut transaction = self.pool.begin().await?;
        let head = lock(&mut transaction, organization_id).await?;
        self.check_events(&mut transaction, organization_id, after..head, |_| Ok(())).await
    }

    /// Checks the seals of the events in a range of indexes, and gives each leaf to `check`.
    async fn check_events(
        &self,
        connection: &mut PgConnection,
        organization_id: &str,
        Range { start: mut size, end: head }: Range<u64>,
        mut check: impl FnMut(Hash) -> Result<(), Refusal>,
    ) -> Result<(), SignError> {
        let accepted = self.accepted().await?;
        while size < head {
            let limit = LEAVES_PER_READ.min(head - size);
            let after = size;
            read_next(connection, organization_id, after, limit, |event| {
                accepted.check(event)?;
                size += 1;
                check(event.leaf)
            })
            .await?;
        }
        Ok(())
    }
}
