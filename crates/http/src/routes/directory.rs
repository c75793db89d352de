//! The directory of identities, in the form in which newer published clients ask for it. Contract, section 4.5.

use axum::http::StatusCode;
use axum::response::Response;
use identity_projections::bodies::{Card, Directory, DirectoryEntry};
use identity_projections::document::IdentityDocument;
use identity_projections::identities::IdentityBody;
use identity_projections::identities::listing::{self, Filter, ListPlace};

use super::json as answer;
use super::pieces::PAGE_BYTES;
use crate::caller::{Caller, Segments};
use crate::code::Code;
use crate::conditional::{unless_current, unless_known};
use crate::error::ApiError;
use crate::fault::Complaint;
use crate::headers::IfNoneMatch;
use crate::parameters::{DescribeQuery, Parameters, Query, cursor, limit, text};

/// How many identities a page has by default.
const DEFAULT_LIMIT: u32 = 50;

/// The name of this list in its cursors, which also name the organization and the text that is searched for.
const LIST: &str = "directory";

/// List the identities that the key may see
///
/// Newest first, page by page: an agent sees itself and the identities to which it has access, an admin sees all. This
/// is the list of identities under another name, for clients that find their peers here. The service does not speak
/// A2A.
#[utoipa::path(get, path = "/api/v1/identities/a2a/directory", tag = "Directory",
    responses((status = 200, description = "A page of the directory", body = Directory)))]
pub(crate) async fn list_directory(
    caller: Caller,
    query: Query<DirectoryQuery>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let text = query.parameters().all("q").pop();
    let mut parameters = query.parameters();
    let list = cursor_scope(&caller, text.as_deref());
    let wanted = DirectoryRequest::read(&mut parameters, |cursor| caller.seal().open(&list, cursor));
    parameters.finish()?;
    unless_known(&caller, &headers, async || answer(StatusCode::OK, &page(&caller, &list, &wanted).await?))
        .await
}

/// The parameters of the directory.
#[derive(Debug)]
pub(crate) struct DirectoryQuery;

impl DescribeQuery for DirectoryQuery {
    fn describe(parameters: &mut Parameters) {
        DirectoryRequest::read(parameters, |_| None);
    }
}

/// The parameters of a request, parsed.
struct DirectoryRequest {
    filter: Filter,
    limit: u32,
    after: Option<ListPlace>,
}

impl DirectoryRequest {
    /// Reads the parameters; `open` returns the place of a cursor, if the cursor is of this list.
    fn read(parameters: &mut Parameters, open: impl Fn(&str) -> Option<ListPlace>) -> Self {
        let place = |cursor: &str| {
            let complaint = || {
                Complaint::new(
                    "value_error",
                    "Input should be a cursor from a page of this list, with the same filters",
                )
            };
            open(cursor).ok_or_else(complaint)
        };
        let about = "Only those whose handle or display name contains this, in any case";
        let text = parameters.one("q", about, text());
        let limit = parameters.one("limit", "At most so many; 50 if absent", limit());
        let about = "Where to go on: `next_cursor` of a page; needs the same `q`";
        let after = parameters.one("cursor", about, cursor(place));
        Self { filter: Filter { text, ..Filter::default() }, limit: limit.unwrap_or(DEFAULT_LIMIT), after }
    }
}

fn cursor_scope<'a>(caller: &'a Caller, text: Option<&'a str>) -> Vec<&'a str> {
    [LIST, caller.organization_id()].into_iter().chain(text).collect()
}

/// A page. It ends after `limit` identities, or when it has `PAGE_BYTES`. One identity more is read, to know whether
/// there is a next page.
async fn page(caller: &Caller, list: &[&str], wanted: &DirectoryRequest) -> Result<Directory, ApiError> {
    let DirectoryRequest { filter, limit, after } = wanted;
    let (pool, organization_id) = (caller.pool_for_large().await, caller.organization_id());
    let (viewer, most) = (caller.viewer(), limit + 1);
    let (mut listed, is_last) =
        listing::next(pool, organization_id, &viewer, filter, *after, most, PAGE_BYTES).await?;
    listed.truncate(*limit as usize);
    let next_cursor = listed.last().filter(|_| !is_last).map(|last| caller.seal().close(list, last.place()));
    let items: Result<Vec<DirectoryEntry>, ApiError> =
        listed.iter().map(|listed| Ok(DirectoryEntry::of(card(&listed.found)?))).collect();
    Ok(Directory { items: items?, next_cursor })
}

/// Get the card of an identity
///
/// Its entry in the directory.
#[utoipa::path(get, path = "/api/v1/identities/{agent_handle}/a2a/card", tag = "Directory",
    responses((status = 200, description = "The card", body = Card)),
    extensions(("x-errors" = json!([Code::IdentityNotFound]))))]
pub(crate) async fn get_card(
    caller: Caller,
    Segments(handle): Segments<String>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let found = caller.find(&handle).await?;
    Ok(unless_current(&headers, &*found, serde_json::to_string(&card(&found)?)?))
}

fn card(found: &IdentityBody) -> Result<Card, ApiError> {
    let document: IdentityDocument = serde_json::from_str(&found.document)?;
    Ok(Card::of(document))
}
