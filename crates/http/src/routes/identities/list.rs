//! Lists of identities: whole, narrowed by filters, or page by page.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use form_urlencoded::Serializer;
use identity_projections::identities::Viewer;
use identity_projections::identities::listing::{self, Filter, ListPlace, ListedIdentity};
use sqlx::PgPool;

use super::ListQuery;
use crate::caller::{Caller, KeyCheck};
use crate::error::ApiError;
use crate::fault::Complaint;
use crate::parameters::{Parameters, Query, choice, cursor, limit, moment, text};
use crate::routes::interruption::Interruption;
use crate::routes::json_text;
use crate::routes::pieces::{self, PAGE_BYTES, PIECE_BYTES, Pieces};

/// How many identities a page has by default.
const DEFAULT_LIMIT: u32 = 100;

/// Names of the filters, in the order in which cursors and links have them.
const FILTERS: [&str; 5] = ["status", "handle_prefix", "created_after", "created_before", "q"];

/// The names of all parameters of a list.
pub(super) const PARAMETERS: [&str; 7] =
    ["status", "handle_prefix", "created_after", "created_before", "q", "limit", "cursor"];

/// A request for a list.
#[derive(Debug)]
pub(super) struct Request {
    filters: Filters,
    /// The filters as the client wrote them.
    given: [Option<String>; FILTERS.len()],
}

/// The parameters of a request, parsed.
#[derive(Debug)]
pub(super) struct Filters {
    filter: Filter,
    limit: Option<u32>,
    after: Option<ListPlace>,
}

impl Filters {
    /// Reads the parameters; `open` returns the place of a cursor, if the cursor is of this list.
    pub(super) fn read(parameters: &mut Parameters, open: impl Fn(&str) -> Option<ListPlace>) -> Self {
        let place = |cursor: &str| {
            let complaint = || {
                Complaint::new(
                    "value_error",
                    "Input should be a cursor from a page of this list, with the same filters",
                )
            };
            open(cursor).ok_or_else(complaint)
        };
        Self {
            filter: Filter {
                status: parameters.one("status", "Only those of this status", choice()),
                handle_prefix: parameters
                    .one("handle_prefix", "Only those whose handle begins so", text())
                    .map(|prefix| handle_prefix(&prefix)),
                created_after: parameters.one(
                    "created_after",
                    "Only those that were created later",
                    moment(),
                ),
                created_before: parameters.one(
                    "created_before",
                    "Only those that were created earlier",
                    moment(),
                ),
                text: parameters.one(
                    "q",
                    "Only those whose handle or display name contains this, in any case",
                    text(),
                ),
            },
            limit: parameters.one("limit", "At most so many: a page, and a link to the next", limit()),
            after: parameters.one(
                "cursor",
                "Where to go on, as the link of a page says; needs the same filters",
                cursor(place),
            ),
        }
    }
}

impl Request {
    /// Reads the parameters. Without any, the answer is the whole list.
    pub(super) fn read(query: &Query<ListQuery>, caller: &Caller) -> Result<Self, ApiError> {
        let given = given(query.parameters());
        let mut parameters = query.parameters();
        parameters.keep(&PARAMETERS);
        let filters = Filters::read(&mut parameters, |cursor| {
            caller.seal().open(&cursor_scope(caller, &given), cursor)
        });
        parameters.finish()?;
        Ok(Self { filters, given })
    }
}

/// The filters as the client wrote them in the query.
fn given(mut parameters: Parameters) -> [Option<String>; FILTERS.len()] {
    FILTERS.map(|name| parameters.all(name).pop())
}

/// The list that a cursor is bound to: its organization and filters.
fn cursor_scope<'a>(caller: &'a Caller, given: &'a [Option<String>]) -> Vec<&'a str> {
    let mut list = vec![caller.organization_id()];
    for (name, value) in FILTERS.into_iter().zip(given) {
        list.extend(value.iter().flat_map(|value| [name, value.as_str()]));
    }
    list
}

/// Normalizes a prefix as handles are normalized.
fn handle_prefix(text: &str) -> String {
    text.strip_prefix('@').unwrap_or(text).to_ascii_lowercase()
}

/// Answers with a page, or with the whole list.
pub(super) async fn answer(request: Request, caller: &Caller) -> Result<Response, ApiError> {
    let Request { filters: Filters { filter, limit, after }, given } = request;
    let is_page = limit.is_some() || after.is_some();
    let pool = if is_page { caller.pool_for_large().await } else { caller.pool().await };
    let mut list = List {
        key: caller.key_check(),
        pool: pool.clone(),
        organization_id: caller.organization_id().to_owned(),
        viewer: caller.viewer(),
        filter,
        after,
    };
    if !is_page {
        return pieces::whole(list, caller).await;
    }
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let (body, more) = list.page(limit).await?;
    let response = json_text(StatusCode::OK, body);
    Ok(match list.after.filter(|_| more) {
        Some(place) => linked(response, &next(caller, &given, limit, place)),
        None => response,
    })
}

/// The link to the next page: the same list, after this place. It is relative to the address that the client asked for (RFC 3986,
/// section 4.2), which may have a prefix that only a proxy knows.
fn next(caller: &Caller, given: &[Option<String>], limit: u32, place: ListPlace) -> String {
    let mut query = Serializer::new(String::new());
    for (name, value) in FILTERS.into_iter().zip(given) {
        query.extend_pairs(value.iter().map(|value| (name, value)));
    }
    query.append_pair("limit", &limit.to_string());
    query.append_pair("cursor", &caller.seal().close(&cursor_scope(caller, given), place));
    format!("<?{}>; rel=\"next\"", query.finish())
}

/// Adds a link (RFC 8288). It is percent-encoded, so it is always a valid header value.
fn linked(mut response: Response, link: &str) -> Response {
    if let Ok(link) = HeaderValue::from_str(link) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// A list that is being written.
struct List {
    key: KeyCheck,
    pool: PgPool,
    organization_id: String,
    viewer: Viewer,
    filter: Filter,
    after: Option<ListPlace>,
}

impl List {
    async fn next(&self, limit: u32, max_bytes: usize) -> Result<(Vec<ListedIdentity>, bool), sqlx::Error> {
        let Self { pool, organization_id, viewer, filter, after, .. } = self;
        listing::next(pool, organization_id, viewer, filter, *after, limit, max_bytes).await
    }

    /// Writes the next identities, and remembers the place of the last one.
    fn write(&mut self, listed: &[ListedIdentity], body: &mut String) {
        for listed in listed {
            if self.after.is_some() && body.is_empty() || body.len() > 1 {
                body.push(',');
            }
            listed.found.write_body(body);
            self.after = Some(listed.place());
        }
    }

    /// A page. One identity more is read, to know whether there is a next page.
    async fn page(&mut self, limit: u32) -> Result<(String, bool), sqlx::Error> {
        let (mut listed, is_last) = self.next(limit + 1, PAGE_BYTES).await?;
        listed.truncate(limit as usize);
        let mut body = String::from("[");
        self.write(&listed, &mut body);
        body.push(']');
        Ok((body, !is_last))
    }
}

impl Pieces for List {
    async fn piece(&mut self, limit: u32, body: &mut String) -> Result<bool, Interruption> {
        let is_first = self.after.is_none();
        let (listed, is_last) = self.next(limit, PIECE_BYTES).await?;
        Interruption::unless_valid(&self.key).await?;
        body.push_str(if is_first { "[" } else { "" });
        self.write(&listed, body);
        body.push_str(if is_last { "]" } else { "" });
        Ok(is_last)
    }
}
