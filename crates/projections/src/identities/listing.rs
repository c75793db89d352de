//! Lists of identities, newest first (D22), page by page.
//!
//! The place of an identity in a list follows from its creation, so it never changes. A client that reads all pages
//! meets every identity that exists throughout exactly once, whatever happens to the others in between.

use futures::TryStreamExt as _;
use identity_domain::identity::Status;
use identity_log::ReadModelFailure;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, FromRow, PgPool, Postgres, QueryBuilder, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::visible::seen;
use super::{IdentityBody, Row, Viewer, folded, row_of, status_name, whole_row};

/// A selection of identities. A field that is `None` restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only identities with this status.
    pub status: Option<Status>,
    /// Only identities whose handle begins with this.
    pub handle_prefix: Option<String>,
    /// Only identities that were created after this.
    pub created_after: Option<OffsetDateTime>,
    /// Only identities that were created before this.
    pub created_before: Option<OffsetDateTime>,
    /// Only identities whose handle or display name contains this, in upper or lower case.
    pub text: Option<String>,
}

/// The place of an entry in a list: of an identity, or of anything else that has an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct ListPlace {
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// Its id, which sorts entries of the same moment.
    pub id: Uuid,
}

/// An identity of a list.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct ListedIdentity {
    /// The identity.
    #[sqlx(flatten)]
    pub found: IdentityBody,
    /// When it was created.
    pub created_at: OffsetDateTime,
}

impl ListedIdentity {
    /// Its place in the list.
    pub fn place(&self) -> ListPlace {
        ListPlace { created_at: self.created_at, id: self.found.id }
    }
}

/// The identities that an agent may be able to see, usually few of many. The condition `seen!` still checks each of them.
const CANDIDATES: &str = " and id in (
    select $2::uuid
    union all select target_id from read_model.visibility where viewer_id = $2
    union all select target_id from read_model.visibility where organization_id = $1 and viewer_id is null
)";

/// The next identities of a list that this viewer may see: at most `limit`, after the place `after`, and no more once they
/// have `max_bytes`. Also returns whether these are the last.
///
/// The access rows of all of them are aggregated in one subquery, rather than in one subquery for each identity. Their ids are given
/// to it as an array: joined with the page, Postgres may read the access rows of every organization.
pub async fn next(
    pool: &PgPool,
    organization_id: &str,
    viewer: &Viewer,
    filter: &Filter,
    after: Option<ListPlace>,
    limit: u32,
    max_bytes: usize,
) -> Result<(Vec<ListedIdentity>, bool), sqlx::Error> {
    // `seen!` refers to the first two parameters by number.
    let mut first = PgArguments::default();
    first.add(organization_id).map_err(sqlx::Error::Encode)?;
    first.add(viewer.agent_id()).map_err(sqlx::Error::Encode)?;
    let page = concat!(
        "with page as (select id, version, changed_at, document, created_at from read_model.identities where ",
        seen!(list, "$1", "$2")
    );
    let mut query = QueryBuilder::with_arguments(page, first);
    if viewer.agent_id().is_some() {
        query.push(CANDIDATES);
    }
    restrict(&mut query, filter, after);
    query.push(" order by created_at desc, id desc limit ").push_bind(i64::from(limit));
    query.push(
        ")
         select id, version, changed_at, document, created_at, coalesce(access, '') as access
         from page
         left join (
             select target_id, string_agg(document, ',' order by created_at, access_id) as access
             from read_model.visibility
             where $2::uuid is null
               and target_id = any (array(select id from page))
               and (viewer_id is null or exists (select from read_model.identities as viewer where viewer.id = viewer_id offset 0))
             group by target_id
         ) as grants on target_id = id
         order by created_at desc, id desc",
    );
    let mut rows = query.build_query_as::<ListedIdentity>().fetch(pool);
    let (mut page, mut bytes) = (vec![], 0);
    while let Some(ListedIdentity { found, created_at }) = rows.try_next().await? {
        let listed = ListedIdentity { found: found.redacted_for(viewer)?, created_at };
        let ListedIdentity { found: IdentityBody { document, access, .. }, .. } = &listed;
        bytes += document.len() + access.len();
        page.push(listed);
        if bytes >= max_bytes {
            return Ok((page, false));
        }
    }
    let is_last = page.len() < limit as usize;
    Ok((page, is_last))
}

/// Adds the conditions of the filter. A condition that is not asked for is left out, so that Postgres plans each
/// combination separately.
fn restrict<'a>(query: &mut QueryBuilder<'a, Postgres>, filter: &'a Filter, after: Option<ListPlace>) {
    if let Some(place) = after {
        query.push(" and (created_at, id) < (").push_bind(place.created_at).push(", ");
        query.push_bind(place.id).push(")");
    }
    if let Some(status) = filter.status {
        query.push(" and status = ").push_bind(status_name(status));
    }
    if let Some(prefix) = &filter.handle_prefix {
        query.push(" and starts_with(agent_handle, ").push_bind(prefix).push(")");
    }
    if let Some(moment) = filter.created_after {
        query.push(" and created_at > ").push_bind(moment);
    }
    if let Some(moment) = filter.created_before {
        query.push(" and created_at < ").push_bind(moment);
    }
    if let Some(text) = &filter.text {
        // `strpos` takes the text literally, unlike `like`.
        let folded = folded(text);
        query.push(" and (strpos(agent_handle, ").push_bind(folded.clone());
        query.push(") > 0 or strpos(folded_name, ").push_bind(folded).push(") > 0)");
    }
}

/// SQL for [`owners`]. The condition on the viewer is its own, so that the one identity of an agent is found by its id.
macro_rules! owners_where {
    ($condition:literal) => {
        concat!(
            "select ",
            whole_row!(),
            " from read_model.identities
              where organization_id = $1
                and ",
            $condition,
            " and ($3::timestamptz is null or (created_at, id) < ($3, $4))
              order by created_at desc, id desc
              limit $5",
        )
    };
}

const OWN: &str = owners_where!("id = $2");
const OF_ALL: &str = owners_where!("$2::uuid is null");

/// The next identities whose parts this viewer may see, newest first: at most `limit`, after the place `after`, and no more
/// once their documents have `max_bytes`. Also returns whether these are the last.
pub async fn owners(
    pool: &PgPool,
    organization_id: &str,
    viewer: &Viewer,
    after: Option<ListPlace>,
    limit: u32,
    max_bytes: usize,
) -> Result<(Vec<Row>, bool), ReadModelFailure> {
    let statement = if viewer.agent_id().is_some() { OWN } else { OF_ALL };
    let mut rows = sqlx::query(statement)
        .bind(organization_id)
        .bind(viewer.agent_id())
        .bind(after.map(|place| place.created_at))
        .bind(after.map(|place| place.id))
        .bind(i64::from(limit))
        .fetch(pool);
    let (mut owners, mut bytes) = (vec![], 0);
    while let Some(row) = rows.try_next().await? {
        bytes += row.try_get::<&str, _>("document")?.len() + row.try_get::<&str, _>("tunnel_metadata")?.len();
        owners.push(row_of(&row)?);
        if bytes >= max_bytes {
            return Ok((owners, false));
        }
    }
    let is_last = owners.len() < limit as usize;
    Ok((owners, is_last))
}
