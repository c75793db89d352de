//! Lists of identities, newest first (D22), piece by piece.
//!
//! A place in a list is where an identity was created, which never changes. So whoever reads on from the place of the
//! last one meets every identity that lives throughout exactly once, whatever happens to others in between.

use identity_domain::identity::Status;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, FromRow, PgExecutor, Postgres, QueryBuilder};
use time::OffsetDateTime;
use uuid::Uuid;

use super::visible::seen;
use super::{IdentityBody, Viewer, folded, status_name};

/// Which identities are wanted. What is left open is not restricted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those of this status.
    pub status: Option<Status>,
    /// Only those whose handle begins so.
    pub handle_prefix: Option<String>,
    /// Only those that were created later.
    pub created_after: Option<OffsetDateTime>,
    /// Only those that were created earlier.
    pub created_before: Option<OffsetDateTime>,
    /// Only those whose handle or display name has this in it, in whatever case.
    pub text: Option<String>,
}

/// Where an identity stands in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Place {
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// Its id, which orders what was created at the same moment.
    pub id: Uuid,
}

/// An identity of a list.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Listed {
    /// The identity.
    #[sqlx(flatten)]
    pub found: IdentityBody,
    /// When it was created.
    pub created_at: OffsetDateTime,
}

impl Listed {
    /// Where it stands.
    pub fn place(&self) -> Place {
        Place { created_at: self.created_at, id: self.found.id }
    }
}

/// Whom an agent can see at all: few of many, as a rule. The common condition, which asks row by row, has the last word.
const CANDIDATES: &str = " and id in (
    select $2::uuid
    union all select target_id from read_model.visibility where viewer_id = $2
    union all select target_id from read_model.visibility where organization_id = $1 and viewer_id is null
)";

/// The next identities of a list that this viewer may see: at most `limit`, after `after`.
///
/// Access rows are gathered for all of them at once; a list of thousands asks for each by itself otherwise.
pub async fn next(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
    filter: &Filter,
    after: Option<Place>,
    limit: u32,
) -> Result<Vec<Listed>, sqlx::Error> {
    // The common condition knows the first two parameters by number.
    let mut first = PgArguments::default();
    first.add(organization_id).map_err(sqlx::Error::Encode)?;
    first.add(viewer.agent_id()).map_err(sqlx::Error::Encode)?;
    let page = concat!(
        "with page as (select id, version, document, created_at from read_model.identities where ",
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
         select id, version, document, created_at, coalesce(access, '') as access
         from page
         left join (
             select target_id, string_agg(document, ',' order by created_at, access_id) as access
             from read_model.visibility
             where $2::uuid is null
               and target_id in (select id from page)
               and (viewer_id is null or exists (select from read_model.identities as viewer where viewer.id = viewer_id offset 0))
             group by target_id
         ) as grants on target_id = id
         order by created_at desc, id desc",
    );
    query.build_query_as().fetch_all(executor).await
}

/// Only what is asked for is in the statement, so that each combination is planned as what it is.
fn restrict<'a>(query: &mut QueryBuilder<'a, Postgres>, filter: &'a Filter, after: Option<Place>) {
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
        // Neither pattern nor escape: the text is looked for as it is.
        let folded = folded(text);
        query.push(" and (strpos(agent_handle, ").push_bind(folded.clone());
        query.push(") > 0 or strpos(folded_name, ").push_bind(folded).push(") > 0)");
    }
}
