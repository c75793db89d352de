//! Who may see an identity: one access row for each viewer, or one row without a viewer, which means everybody.
//! Contract, sections 1.5 and 4.

use std::collections::{BTreeMap, HashMap};

use identity_domain::identity::{Event, Grant};
use identity_domain::{self as domain, Kind};
use identity_log::copy::CopyWriter;
use identity_log::recorded::timestamp;
use identity_log::{Fold, ReadModelFailure, Recorded, Writes};
use serde::Serialize;
use sqlx::PgExecutor;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::columns::{self, Column, Index, TableRow as _, table_row};
use crate::projection::{Projection, uuid_of};
use crate::rows::{Effect, RowChanges, RowFold, RowModel};

/// The read model.
#[derive(Debug)]
pub struct VisibilityRows;

/// The access rows of one target, by viewer. The row without a viewer is for everybody.
pub type Rows = BTreeMap<Option<Uuid>, AccessRow>;

/// The rows of a target, oldest first.
pub fn oldest_first(rows: &Rows) -> Vec<&AccessRow> {
    let mut rows: Vec<&AccessRow> = rows.values().collect();
    rows.sort_unstable_by_key(|row| (row.created_at, row.access_id));
    rows
}

/// The JSON texts of the rows of a target, joined by commas, as they are answered.
pub fn text(rows: &Rows, target: Uuid) -> Result<String, serde_json::Error> {
    let texts: Result<Vec<String>, _> =
        oldest_first(rows).into_iter().map(|row| row.document(target)).collect();
    Ok(texts?.join(","))
}

/// Says that a viewer, or everybody, may see a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRow {
    /// Its id.
    pub access_id: Uuid,
    /// The viewer; `None` for everybody.
    pub viewer_id: Option<Uuid>,
    /// The target's organization.
    pub organization_id: String,
    /// When the row was created.
    pub created_at: OffsetDateTime,
}

/// Who may see an identity.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccessRow)]
pub struct AccessDocument {
    /// The row's id.
    id: Uuid,
    /// Who may be seen.
    target_identity_id: Uuid,
    /// Who may see; every active identity of the organization if null.
    #[schema(required)]
    viewer_identity_id: Option<Uuid>,
    /// Since when.
    #[schema(format = DateTime)]
    created_at: String,
}

impl AccessRow {
    fn new(access_id: Uuid, viewer_id: Option<Uuid>, event: &Recorded) -> Self {
        Self {
            access_id,
            viewer_id,
            organization_id: event.organization_id.clone(),
            created_at: event.recorded_at,
        }
    }

    fn granted(grant: &Grant, event: &Recorded) -> Self {
        Self::new(grant.access_id, Some(grant.viewer_identity_id), event)
    }

    /// The JSON text of the row, for the target `target`.
    pub fn document(&self, target: Uuid) -> Result<String, serde_json::Error> {
        serde_json::to_string(&AccessDocument {
            id: self.access_id,
            target_identity_id: target,
            viewer_identity_id: self.viewer_id,
            created_at: timestamp(self.created_at),
        })
    }
}

impl Projection for VisibilityRows {
    const NAME: &'static str = "visibility";
    const VERSION: i32 = 1;
    const KIND: Kind = Kind::Identity;
    const EVENT_TYPES: Option<&'static [&'static str]> = Some(&[
        "identity.deleted",
        "identity.visibility_granted",
        "identity.visibility_narrowed",
        "identity.visibility_opened",
        "identity.visibility_revoked",
    ]);
    type Row = Rows;

    fn fold(rows: Option<Rows>, recorded: &Recorded) -> Option<Rows> {
        Self::effect(recorded).apply(rows)
    }

    fn live() -> Box<dyn Fold> {
        Box::new(RowFold::<Self>::default())
    }

    const COLUMNS: &'static [Column] = TableAccessRow::COLUMNS;

    const KEY_COLUMNS: usize = 2;

    const INDEXES: &'static [Index] = &[
        Index::of("visibility_viewer", "(viewer_id, target_id) where viewer_id is not null"),
        Index::of("visibility_wildcard", "(organization_id, target_id) where viewer_id is null"),
    ];

    fn copy(id: &str, rows: &Rows, writer: &mut CopyWriter) -> Result<(), ReadModelFailure> {
        let target = uuid_of(id)?;
        for row in rows.values() {
            TableAccessRow::of(target, row)?.copy(writer);
        }
        Ok(())
    }
}

table_row! {
    /// An access row as it stands in the table, with the JSON text that is answered.
    struct TableAccessRow<'a> {
        target_id: Uuid,
        access_id: Uuid,
        viewer_id: Option<Uuid>,
        organization_id: &'a str,
        created_at: OffsetDateTime,
        document: String,
    }
}

impl<'a> TableAccessRow<'a> {
    fn of(target_id: Uuid, row: &'a AccessRow) -> Result<Self, serde_json::Error> {
        let document = row.document(target_id)?;
        let AccessRow { access_id, viewer_id, organization_id, created_at } = row;
        Ok(Self {
            target_id,
            access_id: *access_id,
            viewer_id: *viewer_id,
            organization_id,
            created_at: *created_at,
            document,
        })
    }
}

impl RowModel for VisibilityRows {
    type Key = Option<Uuid>;
    type Value = AccessRow;

    fn effect(recorded: &Recorded) -> Effect<Option<Uuid>, AccessRow> {
        let domain::Event::Identity(event) = &recorded.event else {
            return Effect::Nothing;
        };
        let granted = |grant| {
            let row = AccessRow::granted(grant, recorded);
            (row.viewer_id, row)
        };
        match event {
            Event::VisibilityGranted { grant } => {
                let (viewer, row) = granted(grant);
                Effect::Put(viewer, row)
            }
            Event::VisibilityOpened { access_id } => {
                Effect::Replace(vec![(None, AccessRow::new(*access_id, None, recorded))])
            }
            Event::VisibilityRevoked { viewer_identity_id } => Effect::Remove(Some(*viewer_identity_id)),
            Event::VisibilityNarrowed { grants, .. } => Effect::Replace(grants.iter().map(granted).collect()),
            Event::Deleted { .. } => Effect::Replace(vec![]),
            Event::Created { .. }
            | Event::Renamed { .. }
            | Event::DisplayNameChanged { .. }
            | Event::DescriptionChanged { .. }
            | Event::ImessageChanged { .. }
            | Event::ContactSharingChanged { .. }
            | Event::FilterModeChanged { .. }
            | Event::FilterModesSplit { .. }
            | Event::MailboxSignatureChanged { .. }
            | Event::StatusChanged { .. }
            | Event::PhoneProvisioned { .. }
            | Event::PhoneChanged { .. }
            | Event::PhoneReleased { .. }
            | Event::TunnelMetadataChanged { .. }
            | Event::VaultAccessGranted { .. }
            | Event::VaultAccessRevoked { .. }
            | Event::SigningKeySet { .. } => Effect::Nothing,
        }
    }

    fn write(changes: &HashMap<Uuid, Changes>, writes: &mut Writes) -> Result<(), ReadModelFailure> {
        delete(changes, writes)?;
        insert(changes, writes)
    }
}

type Changes = RowChanges<Option<Uuid>, AccessRow>;

/// Deletes single rows. Each is looked up by its viewer and target, however many viewers the target has.
fn delete(changes: &HashMap<Uuid, Changes>, writes: &mut Writes) -> Result<(), ReadModelFailure> {
    let removed = changes.iter().flat_map(|(target, changes)| {
        changes.removed.iter().filter_map(|viewer| Some((*target, (*viewer)?)))
    });
    let (targets, viewers): (Vec<Uuid>, Vec<Uuid>) = removed.unzip();
    if targets.is_empty() {
        return Ok(());
    }
    writes
        .part(
            "delete from visibility
             where ctid = any(array(
                       select gone.ctid
                       from unnest(?::uuid[], ?::uuid[]) as wanted (target, viewer)
                       cross join lateral (
                           select ctid from visibility where viewer_id = viewer and target_id = target offset 0
                       ) as gone
                   ))
               and exists (select from turn)",
        )
        .bind(targets)?
        .bind(viewers)?;
    Ok(())
}

fn insert(changes: &HashMap<Uuid, Changes>, writes: &mut Writes) -> Result<(), ReadModelFailure> {
    let new = changes
        .iter()
        .flat_map(|(target, changes)| changes.put.values().map(|row| TableAccessRow::of(*target, row)));
    columns::put::<TableAccessRow<'_>, _>(VisibilityRows::NAME, &new.collect::<Result<Vec<_>, _>>()?, writes)
}

/// The access row that a grant has made, as JSON text, and then all rows of its target with commas between them, of which
/// the new row is the last, as in the answers to queries. `before` is the rows before the grant. `None` if the event is no
/// grant.
pub fn granted(
    recorded: &Recorded,
    target: Uuid,
    before: &str,
) -> Result<Option<(String, String)>, serde_json::Error> {
    let (row, kept) = match VisibilityRows::effect(recorded) {
        Effect::Put(_, row) => (row, before),
        Effect::Replace(mut rows) => match (rows.pop(), rows.is_empty()) {
            (Some((_, row)), true) => (row, ""),
            _ => return Ok(None),
        },
        Effect::Remove(_) | Effect::Nothing => return Ok(None),
    };
    let document = row.document(target)?;
    let all = if kept.is_empty() { document.clone() } else { format!("{kept},{document}") };
    Ok(Some((document, all)))
}

/// The JSON texts of the access rows of a target, oldest first. Rows that name a deleted viewer are left out (D26).
pub async fn list(executor: impl PgExecutor<'_>, target: Uuid) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select document
         from read_model.visibility
         where target_id = $1
           and (viewer_id is null or exists (select from read_model.identities as viewer where viewer.id = viewer_id offset 0))
         order by created_at, access_id",
    )
    .bind(target)
    .fetch_all(executor)
    .await
}
