//! The rule of who may see an identity, and queries for single identities.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::{FromRow, PgExecutor, Row as _};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::document::IdentityDocument;
use crate::visibility::AccessDocument;

/// The viewer for whom a query is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// An admin, who sees every identity and every access row.
    Admin,
    /// An agent, who sees itself and the identities that are visible to it, and no access rows (D9).
    Agent(Uuid),
}

impl Viewer {
    /// The agent; `None` for an admin.
    pub fn agent_id(&self) -> Option<Uuid> {
        match self {
            Self::Admin => None,
            Self::Agent(identity) => Some(*identity),
        }
    }
}

// `IdentityBody::body` writes these members: it joins texts that are serialized already.
/// An identity. Clients ignore members that they do not know.
#[derive(Debug, Serialize, ToSchema)]
pub struct Identity {
    /// The document.
    #[serde(flatten)]
    pub document: IdentityDocument,
    /// Who may see it; empty for an agent's key.
    pub access: Vec<AccessDocument>,
}

/// An identity as it is answered: its document and its access rows, both as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct IdentityBody {
    /// Its id.
    pub id: Uuid,
    /// The aggregate's version.
    pub version: i64,
    /// When it got this version; `None` if an older version of this software wrote the row.
    pub changed_at: Option<OffsetDateTime>,
    /// The document's JSON text.
    pub document: String,
    /// JSON texts of its access rows, joined by commas; empty for an agent.
    pub access: String,
}

impl IdentityBody {
    /// Removes the call addresses if the viewer is an agent and this is another identity (contract, section 1.3).
    pub(super) fn redacted_for(self, viewer: &Viewer) -> Result<Self, sqlx::Error> {
        let is_anothers = viewer.agent_id().is_some_and(|agent| agent != self.id);
        // A quotation mark within a text is escaped, so this is the member.
        if !is_anothers || self.document.contains("\"phone_number\":null") {
            return Ok(self);
        }
        let of_json = |error: serde_json::Error| sqlx::Error::Decode(error.into());
        let mut document: IdentityDocument = serde_json::from_str(&self.document).map_err(of_json)?;
        if let Some(number) = &mut document.phone_number {
            number.hide_targets();
        }
        Ok(Self { document: serde_json::to_string(&document).map_err(of_json)?, ..self })
    }

    /// Whether an access row names a viewer. The body then also depends on that viewer: its row is left out once it
    /// is deleted.
    pub fn names_viewers(&self) -> bool {
        self.access.contains("\"viewer_identity_id\":\"")
    }

    /// The size of its texts.
    pub fn bytes(&self) -> usize {
        self.document.len() + self.access.len()
    }

    /// The body of the answer: the document with the access rows as its last member.
    pub fn body(&self) -> String {
        let mut body = String::with_capacity(self.document.len() + self.access.len() + 16);
        self.write_body(&mut body);
        body
    }

    /// Appends the body to `body`.
    pub fn write_body(&self, body: &mut String) {
        body.push_str(self.document.strip_suffix('}').unwrap_or(&self.document));
        body.push_str(",\"access\":[");
        body.push_str(&self.access);
        body.push_str("]}");
    }
}

/// The condition, in SQL, that a viewer may see an identity. The viewer is null for an admin. A paused identity sees
/// no other identity, and no other agent sees it (D1).
///
/// - `seen!(one …)` is for a single identity: Postgres looks up the access rows of that identity.
/// - `seen!(list …)` is for a list: Postgres may collect all targets of the viewer instead. Wildcard rows are
///   restricted to the organization, so that Postgres does not collect those of other organizations.
macro_rules! seen {
    (one, $organization:literal, $viewer:literal) => {
        seen!($organization, $viewer, " offset 0")
    };
    (list, $organization:literal, $viewer:literal) => {
        seen!($organization, $viewer, "")
    };
    ($organization:literal, $viewer:literal, $fence:literal) => {
        concat!(
            "organization_id = ",
            $organization,
            " and (",
            $viewer,
            "::uuid is null or id = ",
            $viewer,
            " or (
                 status = 'active'
                 and exists (select from read_model.identities as viewer where viewer.id = ",
            $viewer,
            " and viewer.status = 'active')
                 and exists (
                     select from read_model.visibility
                     where target_id = identities.id
                       and (viewer_id = ",
            $viewer,
            " or viewer_id is null and visibility.organization_id = ",
            $organization,
            ")",
            $fence,
            "
                 )
             ))"
        )
    };
}
pub(super) use seen;

/// SQL that selects the columns of [`IdentityBody`]. An access row that names a deleted viewer is left out (D26).
/// `offset 0` makes Postgres look up each viewer by its key, however many it expects.
macro_rules! single {
    ($organization:literal, $viewer:literal, $which:literal) => {
        concat!(
            "select id, version, changed_at, document,
                    case when ",
            $viewer,
            "::uuid is null then coalesce((
                        select string_agg(visibility.document, ',' order by visibility.created_at, visibility.access_id)
                        from read_model.visibility
                        where target_id = identities.id
                          and (viewer_id is null or exists (select from read_model.identities as viewer where viewer.id = viewer_id offset 0))
                    ), '') else '' end as access
             from read_model.identities
             where ",
            seen!(one, $organization, $viewer),
            " and ",
            $which
        )
    };
}

/// SQL: whether a row `delivery` shows no identity, or one that its viewer may see at present: `shown_id` is the identity,
/// `identity_id` the viewer, `organization_id` the organization of both.
pub const MAY_BE_SHOWN: &str = concat!(
    "(delivery.shown_id is null or exists (
          select from read_model.identities where id = delivery.shown_id and ",
    seen!(one, "delivery.organization_id", "delivery.identity_id"),
    "))"
);

/// A query for one identity by its handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityQuery {
    /// The organization of the identity and of the viewer.
    pub organization_id: String,
    /// Whose view the query takes.
    pub viewer: Viewer,
    /// The handle of the identity.
    pub handle: String,
}

/// The result of each query: the identity, if there is one and its viewer may see it.
pub async fn find(
    executor: impl PgExecutor<'_>,
    queries: &[IdentityQuery],
) -> Result<Vec<Option<IdentityBody>>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "select place, seen.id, seen.version, seen.changed_at, seen.document, seen.access
         from unnest($1::text[], $2::uuid[], $3::text[])
              with ordinality as wanted (organization, viewer, handle, place)
         cross join lateral (",
        single!("wanted.organization", "wanted.viewer", "agent_handle = wanted.handle"),
        " offset 0) as seen"
    ))
    .bind(queries.iter().map(|query| query.organization_id.as_str()).collect::<Vec<_>>())
    .bind(queries.iter().map(|query| query.viewer.agent_id()).collect::<Vec<_>>())
    .bind(queries.iter().map(|query| query.handle.as_str()).collect::<Vec<_>>())
    .fetch_all(executor)
    .await?;
    let mut found = vec![None; queries.len()];
    for row in &rows {
        let place = usize::try_from(row.try_get::<i64, _>("place")? - 1).ok();
        let asked = place.and_then(|place| Some((found.get_mut(place)?, &queries.get(place)?.viewer)));
        if let Some((found, viewer)) = asked {
            *found = Some(IdentityBody::from_row(row)?.redacted_for(viewer)?);
        }
    }
    Ok(found)
}

/// The identity with this id, if this viewer may see it.
pub async fn find_by_id(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
    id: Uuid,
) -> Result<Option<IdentityBody>, sqlx::Error> {
    let found: Option<IdentityBody> = sqlx::query_as(single!("$1", "$2", "id = $3"))
        .bind(organization_id)
        .bind(viewer.agent_id())
        .bind(id)
        .fetch_optional(executor)
        .await?;
    found.map(|found| found.redacted_for(viewer)).transpose()
}

/// An agent that looks at an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sight<'a> {
    /// The organization of both.
    pub organization_id: &'a str,
    /// The agent.
    pub viewer: Uuid,
    /// The identity.
    pub target: Uuid,
}

/// Each identity as the agent that looks at it sees it. Those that are not seen are left out.
pub async fn seen_by<'a>(
    executor: impl PgExecutor<'_>,
    sights: &[Sight<'a>],
) -> Result<HashMap<Sight<'a>, IdentityBody>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "select place, seen.id, seen.version, seen.changed_at, seen.document, seen.access
         from unnest($1::text[], $2::uuid[], $3::uuid[])
              with ordinality as wanted (organization_id, viewer, target, place)
         cross join lateral (",
        single!("wanted.organization_id", "wanted.viewer", "id = wanted.target"),
        " offset 0) as seen"
    ))
    .bind(sights.iter().map(|sight| sight.organization_id).collect::<Vec<_>>())
    .bind(sights.iter().map(|sight| sight.viewer).collect::<Vec<_>>())
    .bind(sights.iter().map(|sight| sight.target).collect::<Vec<_>>())
    .fetch_all(executor)
    .await?;
    let mut seen = HashMap::with_capacity(rows.len());
    for row in &rows {
        let place: i64 = sqlx::Row::try_get(row, "place")?;
        let sight = usize::try_from(place - 1).ok().and_then(|place| sights.get(place));
        let Some(sight) = sight else { continue };
        seen.insert(*sight, IdentityBody::from_row(row)?.redacted_for(&Viewer::Agent(sight.viewer))?);
    }
    Ok(seen)
}
