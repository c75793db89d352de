//! What was signed before, as the database and the memory beside the key know it, and what a log must still be for it
//! to go on from there.

use identity_proof::tree::Question;
use identity_proof::{Checkpoint, Hash, SigningKey, checkpoint};
use sqlx::PgConnection;

use super::memory::Memory;
use super::refusal::{Refusal, SignError};
use super::tiles::Growing;
use super::{Signed, TreeError, answer, bigint, last, leaf};

/// What was signed before of one epoch.
pub(super) struct Known {
    pub(super) epoch: u64,
    pub(super) stored: Option<Signed>,
    recalled: Option<Signed>,
}

impl Known {
    /// What was signed before, of the latest epoch that anybody remembers; with our key, or it is not ours to go on.
    pub(super) async fn find(
        connection: &mut PgConnection,
        key: &SigningKey,
        memory: &Memory,
        organization_id: &str,
    ) -> Result<Self, SignError> {
        let stored = last(&mut *connection, organization_id).await?;
        let recalled = memory.recall(organization_id).await?;
        let epoch = stored.iter().chain(&recalled).map(|signed| signed.epoch).max().unwrap_or(1);
        let of_epoch = |signed: Option<Signed>| signed.filter(|signed| signed.epoch == epoch);
        let known = Self { epoch, stored: of_epoch(stored), recalled: of_epoch(recalled) };
        let verifier_key = key.verifier_key(&checkpoint::origin(organization_id, epoch));
        for signed in known.stored.iter().chain(&known.recalled) {
            Checkpoint::open(&signed.note, &verifier_key).map_err(|_| Refusal::OtherKey)?;
        }
        Ok(known)
    }

    /// The epoch after all that anybody remembers, of which nothing was signed yet.
    pub(super) async fn nothing_after(
        connection: &mut PgConnection,
        memory: &Memory,
        organization_id: &str,
    ) -> Result<Self, SignError> {
        let stored = last(&mut *connection, organization_id).await?;
        let recalled = memory.recall(organization_id).await?;
        let last = stored.iter().chain(&recalled).map(|signed| signed.epoch).max().unwrap_or(0);
        Ok(Self { epoch: last + 1, stored: None, recalled: None })
    }

    /// How many events were signed at most.
    pub(super) fn size(&self) -> u64 {
        self.stored.iter().chain(&self.recalled).map(|signed| signed.checkpoint.size).max().unwrap_or(0)
    }

    /// What the database has and is not remembered here, because somebody else signed it.
    pub(super) fn news(&self) -> Option<&Signed> {
        let recalled = self.recalled.as_ref().map(Signed::place);
        self.stored.as_ref().filter(|stored| Some(stored.place()) > recalled)
    }

    fn stored_size(&self) -> u64 {
        self.stored.as_ref().map_or(0, |signed| signed.checkpoint.size)
    }

    /// The stored tree, if it is the one that was signed.
    pub(super) async fn tree(
        &self,
        connection: &mut PgConnection,
        organization_id: &str,
    ) -> Result<Growing, SignError> {
        let size = self.stored_size();
        let different = Refusal::Different { signed: size };
        let tree = match Growing::load(connection, organization_id, self.epoch, size).await {
            Err(TreeError::Proof(_) | TreeError::Tile) => return Err(different.into()),
            tree => tree?,
        };
        let root = tree.frontier.root();
        match &self.stored {
            Some(signed) if signed.checkpoint.root != root => Err(different.into()),
            _ => Ok(tree),
        }
    }

    /// Holds that the stored tree begins with what is recalled, and that the log still holds the last leaf of it.
    pub(super) async fn hold(
        &self,
        connection: &mut PgConnection,
        organization_id: &str,
    ) -> Result<(), SignError> {
        let size = self.stored_size();
        let recalled = self.recalled.as_ref().filter(|recalled| recalled.checkpoint.size <= size);
        if let Some(Checkpoint { size, root, .. }) = recalled.map(|recalled| &recalled.checkpoint) {
            let answered =
                answer(connection, organization_id, self.epoch, Question::Root { size: *size }).await?;
            if answered != [*root] {
                return Err(Refusal::Different { signed: *size }.into());
            }
        }
        let Some(index) = size.checked_sub(1) else { return Ok(()) };
        let signed = leaf(connection, organization_id, self.epoch, index).await?;
        let present = next_leaves(connection, organization_id, index, 1).await?;
        if present == [signed] { Ok(()) } else { Err(Refusal::Different { signed: size }.into()) }
    }

    /// Holds that a growing tree does not pass what is recalled without having been it.
    pub(super) fn hold_at(&self, size: u64, root: impl FnOnce() -> Hash) -> Result<(), Refusal> {
        match &self.recalled {
            Some(Signed { checkpoint, .. }) if checkpoint.size == size && checkpoint.root != root() => {
                Err(Refusal::Different { signed: size })
            }
            _ => Ok(()),
        }
    }
}

/// Waits for the turn to sign this organization's log, and says how long it is.
pub(super) async fn lock(connection: &mut PgConnection, organization_id: &str) -> Result<u64, sqlx::Error> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('identityd signer ' || $1, 0))")
        .bind(organization_id)
        .execute(&mut *connection)
        .await?;
    let head: Option<i64> =
        sqlx::query_scalar("select sequence from organization_heads where organization_id = $1")
            .bind(organization_id)
            .fetch_optional(connection)
            .await?;
    Ok(head.and_then(|sequence| u64::try_from(sequence).ok()).unwrap_or(0))
}

/// The leaf hashes of the events after so many.
pub(super) async fn next_leaves(
    connection: &mut PgConnection,
    organization_id: &str,
    after: u64,
    limit: u64,
) -> Result<Vec<Hash>, SignError> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "select organization_sequence, leaf_hash
         from events
         where organization_id = $1 and organization_sequence > $2
         order by organization_sequence
         limit $3",
    )
    .bind(organization_id)
    .bind(bigint(after))
    .bind(bigint(limit))
    .fetch_all(connection)
    .await?;
    if rows.is_empty() {
        return Err(Refusal::Gap { sequence: after + 1 }.into());
    }
    (after + 1..).zip(rows).map(|(expected, (found, hash))| in_place(expected, found, &hash)).collect()
}

fn in_place(expected: u64, found: i64, hash: &[u8]) -> Result<Hash, SignError> {
    if found != bigint(expected) {
        return Err(Refusal::Gap { sequence: expected }.into());
    }
    Ok(Hash(hash.try_into().map_err(|_| TreeError::Tile)?))
}
