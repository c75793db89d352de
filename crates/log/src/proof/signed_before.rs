//! The last checkpoints of an organization, from the database and from the memory, and the checks that the log still continues
//! them.

use identity_proof::tree::Question;
use identity_proof::{Checkpoint, Hash, SigningKey, checkpoint};
use sqlx::{PgConnection, PgPool};

use super::error::{SignError, TreeError};
use super::introductions;
use super::memory::{Memory, Recalled, Revision};
use super::refusal::Refusal;
use super::signed::Signed;
use super::stored::{answer, last, last_epoch, leaf};
use super::tiles::Growing;
use super::unsigned::read_next;

/// The last checkpoints of one epoch of an organization.
pub(super) struct SignedBefore {
    pub(super) epoch: u64,
    /// The one in the database.
    pub(super) stored: Option<Signed>,
    /// The one in the memory. There are two if all hosts share a memory and a file of this host was not brought there yet.
    recalled: Vec<Signed>,
    /// The epoch and the size of the checkpoint in the memory, which the next checkpoint replaces.
    remembered: Option<(u64, u64)>,
    /// The revision of its entry in the memory.
    pub(super) revision: Revision,
}

impl SignedBefore {
    /// The last checkpoints of the latest epoch in the database or the memory. Fails if they were signed with another
    /// key, or if this key was replaced.
    pub(super) async fn find(
        connection: &mut PgConnection,
        key: &SigningKey,
        memory: &Memory,
        organization_id: &str,
    ) -> Result<Self, SignError> {
        let stored = last(&mut *connection, organization_id).await?;
        let recalled = memory.recall(organization_id).await?;
        let epoch = stored.iter().map(|signed| signed.epoch).chain(recalled.epochs()).max().unwrap_or(1);
        let is_of_epoch = |signed: &Signed| signed.epoch == epoch;
        let Recalled { last, left, revision } = recalled;
        let remembered = last.as_ref().map(Signed::place);
        let recalled = last.into_iter().chain(left).filter(is_of_epoch).collect();
        let before = Self { epoch, stored: stored.filter(is_of_epoch), recalled, remembered, revision };
        if introductions::is_replaced(&mut *connection, key).await? {
            return Err(Refusal::Replaced.into());
        }
        let verifier_key = key.verifier_key(&checkpoint::origin(organization_id, epoch));
        let is_ours = |signed: &&Signed| Checkpoint::open(&signed.note, &verifier_key).is_ok();
        if before.stored.as_ref().is_some_and(|signed| !is_ours(&signed)) {
            return Err(Refusal::OtherKey.into());
        }
        // This host may not have signed since the key was replaced.
        for recalled in before.recalled.iter().filter(|signed| !is_ours(signed)) {
            if !introductions::is_of_predecessor(connection, key, recalled).await? {
                return Err(Refusal::OtherKey.into());
            }
        }
        Ok(before)
    }

    /// The next epoch, of which nothing was signed yet: at least `first`.
    pub(super) async fn nothing_after(
        connection: &mut PgConnection,
        memory: &Memory,
        organization_id: &str,
        first: u64,
    ) -> Result<Self, SignError> {
        // The notes of earlier epochs need not be readable.
        let stored = last_epoch(&mut *connection, organization_id).await?;
        let recalled = memory.recall(organization_id).await?;
        let last = stored.into_iter().chain(recalled.epochs()).max().unwrap_or(0);
        let (recalled, remembered, revision) = (vec![], None, recalled.revision);
        Ok(Self { epoch: first.max(last + 1), stored: None, recalled, remembered, revision })
    }

    /// The number of events that were signed.
    pub(super) fn size(&self) -> u64 {
        self.stored.iter().chain(&self.recalled).map(|signed| signed.checkpoint.size).max().unwrap_or(0)
    }

    /// The checkpoint of the database, if the memory is older: another process signed it.
    pub(super) fn news(&self) -> Option<&Signed> {
        self.stored.as_ref().filter(|stored| Some(stored.place()) > self.remembered)
    }

    fn stored_size(&self) -> u64 {
        self.stored.as_ref().map_or(0, |signed| signed.checkpoint.size)
    }

    /// The stored tree. Fails if its root is not the one that was signed.
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

    /// Checks that the stored tree begins with the tree of each checkpoint in the memory, and that the last leaf of the
    /// stored tree is still in the log.
    pub(super) async fn check(
        &self,
        connection: &mut PgConnection,
        organization_id: &str,
    ) -> Result<(), SignError> {
        let size = self.stored_size();
        let recalled = self.recalled.iter().map(|recalled| &recalled.checkpoint);
        for Checkpoint { size, root, .. } in recalled.filter(|recalled| recalled.size <= size) {
            let answered =
                answer(connection, organization_id, self.epoch, Question::Root { size: *size }).await?;
            if answered != [*root] {
                return Err(Refusal::Different { signed: *size }.into());
            }
        }
        let Some(index) = size.checked_sub(1) else { return Ok(()) };
        let signed = leaf(connection, organization_id, self.epoch, index).await?;
        read_next(connection, organization_id, index, 1, |present| {
            if present.leaf == signed { Ok(()) } else { Err(Refusal::Different { signed: size }) }
        })
        .await
    }

    /// If the growing tree has the size of a checkpoint in the memory, checks that it has the root of that checkpoint.
    pub(super) fn check_at(&self, size: u64, root: impl Fn() -> Hash) -> Result<(), Refusal> {
        let is_different =
            |Signed { checkpoint, .. }: &Signed| checkpoint.size == size && checkpoint.root != root();
        if self.recalled.iter().any(is_different) { Err(Refusal::Different { signed: size }) } else { Ok(()) }
    }
}

/// Refuses a signer without a memory if any log was signed: it does not know whether the checkpoints in the database are the
/// last ones.
pub(super) async fn refuse_forgetful(pool: &PgPool, key: &SigningKey) -> Result<(), SignError> {
    // The last one of a log has the signature of the present key, also if the key was replaced.
    let any: Option<(String, i64, String)> = sqlx::query_as(
        "select organization_id, epoch, note
         from checkpoints
         where organization_id = (select min(organization_id) from checkpoints)
         order by epoch desc, size desc
         limit 1",
    )
    .fetch_optional(pool)
    .await?;
    let Some((organization_id, epoch, note)) = any else { return Ok(()) };
    let origin = checkpoint::origin(&organization_id, u64::try_from(epoch).unwrap_or_default());
    let is_ours = Checkpoint::open(&note, &key.verifier_key(&origin)).is_ok();
    Err(if is_ours { Refusal::Unremembered } else { Refusal::OtherKey }.into())
}

/// Waits for the lock for signing this organization's log. Returns the number of its events. Fails if an event is outside of the
/// history: aggregates would be read with it, and it would never be signed.
pub(super) async fn lock(connection: &mut PgConnection, organization_id: &str) -> Result<u64, SignError> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('identityd signer ' || $1, 0))")
        .bind(organization_id)
        .execute(&mut *connection)
        .await?;
    // One statement: a commit between two would look like an event outside of the history.
    let (head, first, last): (Option<i64>, Option<i64>, Option<i64>) = sqlx::query_as(
        "select (select sequence from organization_heads where organization_id = $1),
                (select min(organization_sequence) from events where organization_id = $1),
                (select max(organization_sequence) from events where organization_id = $1)",
    )
    .bind(organization_id)
    .fetch_one(connection)
    .await?;
    let head = head.unwrap_or(0);
    let outside = first.filter(|first| *first < 1).or(last.filter(|last| *last > head));
    let head = u64::try_from(head).unwrap_or(0);
    outside.map_or(Ok(head), |sequence| Err(Refusal::Outside { sequence, head }.into()))
}
