//! Who may see an identity: one row a viewer, or one row without a viewer for everybody. Contract, sections 1.5 and 4.

use std::collections::HashMap;

use async_trait::async_trait;
use identity_domain::identity::{Event, Grant};
use identity_domain::{self as domain, Kind};
use identity_log::copy::CopyWriter;
use identity_log::recorded::timestamp;
use identity_log::{ReadModelFailure, Recorded, Writes};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::projection::{Change, Projection, uuid_of};

/// The read model.
#[derive(Debug)]
pub struct VisibilityRows;

/// What is kept of one target: its rows, oldest first.
pub type Rows = Vec<AccessRow>;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRow {
    /// Its id.
    pub access_id: Uuid,
    /// Who may see; everybody if absent.
    pub viewer_id: Option<Uuid>,
    /// The target's organization.
    pub organization_id: String,
    /// Since when.
    pub created_at: OffsetDateTime,
}

/// A row as clients see it.
#[derive(Debug, Serialize)]
struct AccessDocument {
    id: Uuid,
    target_identity_id: Uuid,
    viewer_identity_id: Option<Uuid>,
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

    /// JSON text of the row on `target`.
    pub fn document(&self, target: Uuid) -> Result<String, serde_json::Error> {
        serde_json::to_string(&AccessDocument {
            id: self.access_id,
            target_identity_id: target,
            viewer_identity_id: self.viewer_id,
            created_at: timestamp(self.created_at),
        })
    }
}

#[async_trait]
impl Projection for VisibilityRows {
    const NAME: &'static str = "visibility";
    const VERSION: i32 = 1;
    const KIND: Kind = Kind::Identity;
    type Row = Rows;

    fn fold(rows: Option<Rows>, recorded: &Recorded) -> Option<Rows> {
        let domain::Event::Identity(event) = &recorded.event else {
            return rows;
        };
        let mut rows = rows.unwrap_or_default();
        match event {
            Event::VisibilityGranted { grant } => rows.push(AccessRow::granted(grant, recorded)),
            Event::VisibilityOpened { access_id } => rows = vec![AccessRow::new(*access_id, None, recorded)],
            Event::VisibilityRevoked { viewer_identity_id } => {
                rows.retain(|row| row.viewer_id != Some(*viewer_identity_id));
            }
            Event::VisibilityNarrowed { grants, .. } => {
                rows = grants.iter().map(|grant| AccessRow::granted(grant, recorded)).collect();
            }
            Event::Deleted { .. } => rows.clear(),
            Event::Created { .. }
            | Event::Renamed { .. }
            | Event::DisplayNameChanged { .. }
            | Event::DescriptionChanged { .. }
            | Event::ImessageChanged { .. }
            | Event::FilterModeChanged { .. }
            | Event::StatusChanged { .. }
            | Event::PhoneProvisioned { .. }
            | Event::PhoneChanged { .. }
            | Event::PhoneReleased { .. }
            | Event::TunnelMetadataChanged { .. }
            | Event::VaultAccessGranted { .. }
            | Event::VaultAccessRevoked { .. } => {}
        }
        if rows.is_empty() { None } else { Some(rows) }
    }

    fn concerns(event: &domain::Event) -> bool {
        matches!(
            event,
            domain::Event::Identity(
                Event::VisibilityGranted { .. }
                    | Event::VisibilityOpened { .. }
                    | Event::VisibilityRevoked { .. }
                    | Event::VisibilityNarrowed { .. }
                    | Event::Deleted { .. }
            )
        )
    }

    const COLUMNS: &'static [&'static str] =
        &["target_id", "access_id", "viewer_id", "organization_id", "created_at", "document"];

    const KEY_COLUMNS: usize = 2;

    fn copy(id: &str, rows: &Rows, writer: &mut CopyWriter) -> Result<(), ReadModelFailure> {
        let target = uuid_of(id)?;
        for row in rows {
            writer.row(6);
            writer.uuid(target);
            writer.uuid(row.access_id);
            writer.optional_uuid(row.viewer_id);
            writer.text(&row.organization_id);
            writer.timestamp(row.created_at);
            writer.text(&row.document(target)?);
        }
        Ok(())
    }

    async fn load(
        connection: &mut PgConnection,
        ids: &[&str],
    ) -> Result<HashMap<String, Rows>, ReadModelFailure> {
        let found = sqlx::query(
            "select target_id, access_id, viewer_id, organization_id, created_at
             from visibility
             where target_id = any($1::text[]::uuid[])
             order by created_at, access_id",
        )
        .bind(ids)
        .fetch_all(connection)
        .await?;
        let mut rows: HashMap<String, Rows> = HashMap::new();
        for row in &found {
            rows.entry(row.try_get::<Uuid, _>("target_id")?.to_string()).or_default().push(AccessRow {
                access_id: row.try_get("access_id")?,
                viewer_id: row.try_get("viewer_id")?,
                organization_id: row.try_get("organization_id")?,
                created_at: row.try_get("created_at")?,
            });
        }
        Ok(rows)
    }

    fn store(changes: &[Change<Rows>], writes: &mut Writes) -> Result<(), ReadModelFailure> {
        let mut gone = Vec::new();
        let mut new = Vec::new();
        for change in changes {
            let target = uuid_of(&change.id)?;
            let (before, after) = (rows_of(change.before.as_ref()), rows_of(change.after.as_ref()));
            gone.extend(before.iter().filter(|row| !after.contains(row)).map(|row| (target, row.access_id)));
            new.extend(after.iter().filter(|row| !before.contains(row)).map(|row| (target, row)));
        }
        delete(&gone, writes)?;
        insert(&new, writes)
    }
}

fn rows_of(rows: Option<&Rows>) -> &[AccessRow] {
    rows.map_or(&[], Vec::as_slice)
}

fn delete(gone: &[(Uuid, Uuid)], writes: &mut Writes) -> Result<(), ReadModelFailure> {
    if gone.is_empty() {
        return Ok(());
    }
    let (targets, rows): (Vec<Uuid>, Vec<Uuid>) = gone.iter().copied().unzip();
    writes
        .part(
            "delete from visibility
             where target_id = any(?)
               and (target_id, access_id) in (select * from unnest(?::uuid[], ?::uuid[]) as gone (target, row_id))
               and exists (select from turn)",
        )
        .bind(&targets)?
        .bind(&targets)?
        .bind(rows)?;
    Ok(())
}

fn insert(new: &[(Uuid, &AccessRow)], writes: &mut Writes) -> Result<(), ReadModelFailure> {
    if new.is_empty() {
        return Ok(());
    }
    let documents: Vec<String> =
        new.iter().map(|(target, row)| row.document(*target)).collect::<Result<_, _>>()?;
    writes
        .part(
            "insert into visibility (target_id, viewer_id, access_id, organization_id, created_at, document)
             select * from unnest(?::uuid[], ?::uuid[], ?::uuid[], ?::text[], ?::timestamptz[], ?::text[])
             where exists (select from turn)
             on conflict on constraint visibility_pkey do update
             set viewer_id = excluded.viewer_id, document = excluded.document",
        )
        .bind(new.iter().map(|(target, _)| *target).collect::<Vec<_>>())?
        .bind(new.iter().map(|(_, row)| row.viewer_id).collect::<Vec<_>>())?
        .bind(new.iter().map(|(_, row)| row.access_id).collect::<Vec<_>>())?
        .bind(new.iter().map(|(_, row)| row.organization_id.as_str()).collect::<Vec<_>>())?
        .bind(new.iter().map(|(_, row)| row.created_at).collect::<Vec<_>>())?
        .bind(documents)?;
    Ok(())
}

/// JSON texts of the rows on a target, oldest first; rows that name a viewer who is gone are left out (D26).
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
