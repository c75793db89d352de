//! The live fold of identities, which also hands out the access rows that answers show, as they are after each command.
//!
//! The access rows of an identity are loaded by the statement that loads its row, and only if the answer to a command of the batch
//! shows them and its caller may not know them. The events of the batch are then folded onto them. A viewer that is deleted
//! disappears from them (D26).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use identity_domain::Kind;
use identity_log::{AcceptedCommand, Fold, ReadModelError, ReadModelFailure, Recorded, ShownAccess, Writes};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::projection::{LoadedFold, LoadedModel};
use crate::rows::{Effect, RowModel as _};
use crate::visibility::{Rows, VisibilityRows};

/// A version before the first one: whatever has changed, has changed after it.
const BEFORE_ALL: i64 = -1;

/// What this fold needs of the read model of identities. The file of that read model uses this one, so a direct use of it here would
/// make a circle.
pub(crate) trait HasAccess: LoadedModel {
    /// The version of an identity at which its access rows changed last.
    fn access_version(row: &Self::Row) -> i64;

    /// Rows by id. Each has its access rows if they have changed after the version that `known_at` has for it, and none otherwise.
    fn load_with_access(
        connection: &mut PgConnection,
        ids: &[&str],
        known_at: &HashMap<&str, i64>,
    ) -> impl Future<Output = Result<Vec<(String, Self::Row, Rows)>, ReadModelFailure>> + Send;
}

/// The fold. What it keeps is of the last batch, which may not be committed yet.
pub(crate) struct FoldWithAccess<P: LoadedModel> {
    rows: LoadedFold<P>,
    /// Access rows of the identities that the last batch has shown or changed, as far as they are known.
    access: HashMap<String, Arc<Rows>>,
    /// The events of the last batch that change access rows.
    last: Vec<Recorded>,
}

impl<P: LoadedModel> Default for FoldWithAccess<P> {
    fn default() -> Self {
        Self { rows: LoadedFold::default(), access: HashMap::new(), last: vec![] }
    }
}

#[async_trait]
impl<P: HasAccess> Fold for FoldWithAccess<P> {
    async fn fold(
        &mut self,
        connection: &mut PgConnection,
        events: &[Recorded],
        writes: &mut Writes,
    ) -> Result<(), ReadModelError> {
        let shown = shown(events, writes.commands());
        if !shown.is_empty() {
            let loaded = self.load(connection, events, writes, &shown).await;
            loaded.map_err(|source| ReadModelError { read_model: P::NAME, source })?;
        }
        let shown: HashSet<String> = shown.into_keys().map(str::to_owned).collect();
        self.rows.fold(connection, events, writes).await?;
        self.hand_out(events, &shown, writes);
        Ok(())
    }
}

impl<P: HasAccess> FoldWithAccess<P> {
    /// Loads the access rows that are shown and not known, and with them the rows that the batch needs.
    async fn load(
        &mut self,
        connection: &mut PgConnection,
        events: &[Recorded],
        writes: &Writes,
        shown: &HashMap<&str, i64>,
    ) -> Result<(), ReadModelFailure> {
        let known_at: HashMap<&str, i64> =
            shown.iter().filter_map(|(id, known_at)| Some((*id, self.to_load(id, *known_at)?))).collect();
        if known_at.is_empty() {
            return Ok(());
        }
        let mut ids = self.rows.unknown(events, writes);
        ids.extend(known_at.keys());
        let ids: Vec<&str> = ids.into_iter().collect();
        for (id, row, access) in P::load_with_access(connection, &ids, &known_at).await? {
            if known_at.get(&*id).is_some_and(|known_at| P::access_version(&row) > *known_at) {
                let mut access = Arc::new(access);
                // Whether the last batch is committed is not known. To fold its events a second time changes nothing.
                self.last.iter().for_each(|event| evolve(&id, &mut access, event));
                self.access.insert(id.clone(), access);
            }
            self.rows.learn(id, row);
        }
        Ok(())
    }

    /// The version after which the access rows of an identity have changed if they are to be loaded. `known_at` is the version at
    /// which they are known to callers. `None` if they need not be loaded.
    fn to_load(&self, id: &str, known_at: i64) -> Option<i64> {
        match self.rows.row(id) {
            _ if self.access.contains_key(id) => None,
            Some(row) => (P::access_version(row) > known_at).then_some(BEFORE_ALL),
            None => Some(known_at),
        }
    }

    /// Folds a batch onto the access rows, and hands them out for each command that shows them.
    fn hand_out(&mut self, events: &[Recorded], shown: &HashSet<String>, writes: &mut Writes) {
        let showing = writes.commands().iter().enumerate();
        let showing = showing.filter(|(_, command)| command.shown_access != ShownAccess::None);
        let showing: Vec<(usize, AcceptedCommand)> =
            showing.map(|(place, command)| (place, command.clone())).collect();
        let mut folding = events.iter().filter(|event| event.event.kind() == Kind::Identity).peekable();
        for (place, command) in showing {
            while let Some(event) = folding.next_if(|event| event.position <= command.position) {
                self.evolve(event, shown);
            }
            if let Some(rows) = self.access.get(&command.aggregate_id) {
                writes.hand_out(place, Arc::clone(rows));
            }
        }
        folding.for_each(|event| self.evolve(event, shown));
        if !self.access.is_empty() {
            let changed: HashSet<&str> = events.iter().map(|event| event.aggregate_id.as_str()).collect();
            self.access.retain(|id, _| shown.contains(id) || changed.contains(&**id));
        }
        self.last = events.iter().filter(|event| changes_access(event)).cloned().collect();
    }

    fn evolve(&mut self, event: &Recorded, shown: &HashSet<String>) {
        if event.sequence == 1 && shown.contains(&event.aggregate_id) {
            self.access.insert(event.aggregate_id.clone(), Arc::default());
        }
        if event.event.is_end() {
            self.access.iter_mut().for_each(|(id, rows)| evolve(id, rows, event));
        } else if let Some(rows) = self.access.get_mut(&event.aggregate_id) {
            evolve(&event.aggregate_id, rows, event);
        }
    }
}

/// Applies an event of any identity to the access rows of the identity `id`.
fn evolve(id: &str, rows: &mut Arc<Rows>, event: &Recorded) {
    let ended = Some(event).filter(|event| event.event.is_end());
    let viewer = ended.and_then(|event| event.aggregate_id.parse::<Uuid>().ok());
    if viewer.is_some() && rows.contains_key(&viewer) {
        Arc::make_mut(rows).remove(&viewer);
    }
    if event.aggregate_id == id && changes_access(event) {
        let before = Arc::unwrap_or_clone(std::mem::take(rows));
        *rows = Arc::new(VisibilityRows::effect(event).apply(Some(before)).unwrap_or_default());
    }
}

fn changes_access(event: &Recorded) -> bool {
    VisibilityRows::effect(event) != Effect::Nothing
}

/// The identities whose access rows are shown, each with the last version at which every caller knows them.
fn shown<'a>(events: &'a [Recorded], commands: &'a [AcceptedCommand]) -> HashMap<&'a str, i64> {
    if commands.iter().all(|command| command.shown_access == ShownAccess::None) {
        return HashMap::new();
    }
    let mut events = events.iter().peekable();
    let (mut changed, mut shown) = (HashSet::new(), HashMap::new());
    for command in commands {
        let id = command.aggregate_id.as_str();
        let known_at = match command.shown_access {
            ShownAccess::None => None,
            ShownAccess::ChangedAfter(version) if !changed.contains(id) => Some(version),
            ShownAccess::ChangedAfter(_) | ShownAccess::All => Some(BEFORE_ALL),
        };
        if let Some(known_at) = known_at {
            let least = shown.entry(id).or_insert(known_at);
            *least = known_at.min(*least);
        }
        while let Some(event) = events.next_if(|event| event.position <= command.position) {
            if changes_access(event) {
                changed.insert(event.aggregate_id.as_str());
            }
        }
    }
    shown
}
