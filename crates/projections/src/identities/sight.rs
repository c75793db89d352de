//! Single identities, as somebody sees them.

use sqlx::{FromRow, PgExecutor};
use uuid::Uuid;

/// Through whose eyes an organization is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eyes {
    /// An admin's, who sees every identity and every access row.
    Admin,
    /// An agent's, who sees itself and whoever lets it, and no access rows (D9).
    Agent(Uuid),
}

impl Eyes {
    /// The agent whose eyes they are.
    pub fn viewer(&self) -> Option<Uuid> {
        match self {
            Self::Admin => None,
            Self::Agent(identity) => Some(*identity),
        }
    }
}

/// An identity as it is answered: its document and its access rows, both as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Found {
    /// Its id.
    pub id: Uuid,
    /// The aggregate's version.
    pub version: i64,
    /// The document's JSON text.
    pub document: String,
    /// JSON texts of its access rows, joined by commas; empty for an agent's eyes.
    pub access: String,
}

impl Found {
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

/// What `$1` (organization) and `$2` (viewer, or null) may see. A paused identity neither sees others nor is seen by them
/// (D1). For a single identity its own grants are looked up (`seen!(one)`); for a list Postgres may as well collect all that
/// the viewer sees: that everybody sees a target is asked within the organization, so as not to collect those of others.
macro_rules! seen {
    (one) => {
        seen!(" offset 0")
    };
    (list) => {
        seen!("")
    };
    ($fence:literal) => {
        concat!(
            "organization_id = $1
             and ($2::uuid is null or id = $2 or (
                 status = 'active'
                 and exists (select from read_model.identities as viewer where viewer.id = $2 and viewer.status = 'active')
                 and exists (
                     select from read_model.visibility
                     where target_id = identities.id
                       and (viewer_id = $2 or viewer_id is null and visibility.organization_id = $1)",
            $fence,
            "
                 )
             ))"
        )
    };
}
pub(super) use seen;

/// Columns of [`Found`]. A row that names a viewer who is gone is as if it were not there (D26). Here and wherever viewers
/// are looked up, `offset 0` has each looked up by its key, however many Postgres expects.
const SEEN: &str = concat!(
    "select id, version, document,
            case when $2::uuid is null then coalesce((
                select string_agg(visibility.document, ',' order by visibility.created_at, visibility.access_id)
                from read_model.visibility
                where target_id = identities.id
                  and (viewer_id is null or exists (select from read_model.identities as viewer where viewer.id = viewer_id offset 0))
            ), '') else '' end as access
     from read_model.identities
     where ",
    seen!(one)
);

/// The identity with this handle, if these eyes may see it.
pub async fn find(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    eyes: &Eyes,
    handle: &str,
) -> Result<Option<Found>, sqlx::Error> {
    let query = format!("{SEEN} and agent_handle = $3");
    sqlx::query_as(&query)
        .bind(organization_id)
        .bind(eyes.viewer())
        .bind(handle)
        .fetch_optional(executor)
        .await
}

/// The identity with this id, if these eyes may see it.
pub async fn find_by_id(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    eyes: &Eyes,
    id: Uuid,
) -> Result<Option<Found>, sqlx::Error> {
    let query = format!("{SEEN} and id = $3");
    sqlx::query_as(&query).bind(organization_id).bind(eyes.viewer()).bind(id).fetch_optional(executor).await
}
