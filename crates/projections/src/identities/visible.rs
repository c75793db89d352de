//! Single identities, as somebody sees them.

use sqlx::{FromRow, PgExecutor, Row as _};
use uuid::Uuid;

/// Who reads: an organization is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// An admin, who sees every identity and every access row.
    Admin,
    /// An agent, who sees itself and whoever lets it, and no access rows (D9).
    Agent(Uuid),
}

impl Viewer {
    /// The agent; none for an admin.
    pub fn agent_id(&self) -> Option<Uuid> {
        match self {
            Self::Admin => None,
            Self::Agent(identity) => Some(*identity),
        }
    }
}

/// An identity as it is answered: its document and its access rows, both as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct IdentityBody {
    /// Its id.
    pub id: Uuid,
    /// The aggregate's version.
    pub version: i64,
    /// The document's JSON text.
    pub document: String,
    /// JSON texts of its access rows, joined by commas; empty for an agent.
    pub access: String,
}

impl IdentityBody {
    /// Whether single identities may see it, so that its access rows depend on those identities too.
    pub fn names_viewers(&self) -> bool {
        self.access.contains("\"viewer_identity_id\":\"")
    }

    /// The body of the answer: the document with the access rows as its last member.
    pub fn body(&self) -> String {
        let mut body = String::with_capacity(self.document.len() + self.access.len() + 16);
        self.write_body(&mut body);
        body
    }

    /// Writes the body behind what `body` has.
    pub fn write_body(&self, body: &mut String) {
        body.push_str(self.document.strip_suffix('}').unwrap_or(&self.document));
        body.push_str(",\"access\":[");
        body.push_str(&self.access);
        body.push_str("]}");
    }
}

/// What somebody may see: an organization's admin, whose viewer is null, or an agent. A paused identity neither sees others
/// nor is seen by them (D1). For a single identity its own grants are looked up (`seen!(one …)`); for a list Postgres may as
/// well collect all that the viewer sees: that everybody sees a target is asked within the organization, so as not to
/// collect those of others.
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

/// Columns of [`IdentityBody`]. A row that names a viewer who is gone is as if it were not there (D26). Here and wherever viewers
/// are looked up, `offset 0` has each looked up by its key, however many Postgres expects.
macro_rules! single {
    ($organization:literal, $viewer:literal, $which:literal) => {
        concat!(
            "select id, version, document, coalesce(access_version, 0) as access_version,
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

/// An identity that somebody asks for by its handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose.
    pub organization_id: String,
    /// Who asks.
    pub viewer: Viewer,
    /// What it is called.
    pub handle: String,
}

/// The identities that are wanted, each if whoever asks may see it.
pub async fn find(
    executor: impl PgExecutor<'_>,
    wanted: &[Wanted],
) -> Result<Vec<Option<IdentityBody>>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "select place, seen.id, seen.version, seen.document, seen.access
         from unnest($1::text[], $2::uuid[], $3::text[])
              with ordinality as wanted (organization, viewer, handle, place)
         cross join lateral (",
        single!("wanted.organization", "wanted.viewer", "agent_handle = wanted.handle"),
        " offset 0) as seen"
    ))
    .bind(wanted.iter().map(|wanted| wanted.organization_id.as_str()).collect::<Vec<_>>())
    .bind(wanted.iter().map(|wanted| wanted.viewer.agent_id()).collect::<Vec<_>>())
    .bind(wanted.iter().map(|wanted| wanted.handle.as_str()).collect::<Vec<_>>())
    .fetch_all(executor)
    .await?;
    let mut found = vec![None; wanted.len()];
    for row in &rows {
        let place = usize::try_from(row.try_get::<i64, _>("place")? - 1).ok();
        if let Some(found) = place.and_then(|place| found.get_mut(place)) {
            *found = Some(IdentityBody::from_row(row)?);
        }
    }
    Ok(found)
}

/// An identity as it is at present.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Present {
    /// What is answered.
    #[sqlx(flatten)]
    pub body: IdentityBody,
    /// The version at which who may see the identity was changed last.
    pub access_version: i64,
}

/// The identity with this id, if this viewer may see it.
pub async fn find_by_id(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
    id: Uuid,
) -> Result<Option<Present>, sqlx::Error> {
    sqlx::query_as(single!("$1", "$2", "id = $3"))
        .bind(organization_id)
        .bind(viewer.agent_id())
        .bind(id)
        .fetch_optional(executor)
        .await
}
