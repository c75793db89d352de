//! Identities that are not deleted, with their mailbox, tunnel and phone number.
//!
//! `visible` has the rule of who may see an identity, and queries for single identities; [`listing`] has lists.

pub mod listing;
mod visible;

use std::collections::HashMap;

use identity_domain::identity::{Event, Status};
use identity_domain::{self as domain, Kind};
use identity_log::copy::CopyWriter;
use identity_log::{Fold, ReadModelFailure, Recorded, Statement, Writes};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::change::Change;
use crate::columns::{self, Column, Index, TableRow as _, table_row};
use crate::document::{DocumentText, IdentityDocument};
use crate::projection::{LoadedModel, Projection};
use crate::rows::{Effect, RowModel as _};
use crate::shown_access::{FoldWithAccess, HasAccess};
use crate::visibility::{AccessRow, Rows, VisibilityRows};

pub use visible::{
    Identity, IdentityBody, IdentityQuery, MAY_BE_SHOWN, Sight, Viewer, find, find_by_id, seen_by,
};

/// The columns from which [`row_of`] makes a row.
macro_rules! whole_row {
    () => {
        "document, tunnel_metadata, created_at, version, changed_at,
         coalesce(access_version, 0) as access_version"
    };
}
use whole_row;

/// The read model.
#[derive(Debug)]
pub struct Identities;

/// The row of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The document that clients see.
    pub document: Box<IdentityDocument>,
    /// JSON text of the tunnel's metadata.
    pub tunnel_metadata: String,
    /// When it was created. Lists are sorted by it.
    pub created_at: OffsetDateTime,
    /// The aggregate's version.
    pub version: i64,
    /// When it got this version; `None` if an older version of this software wrote the row.
    pub changed_at: Option<OffsetDateTime>,
    /// The version at which the visibility changed last; 0 if it never did.
    pub access_version: i64,
    /// The document's JSON text.
    pub(crate) text: DocumentText,
}

impl Row {
    /// The document's JSON text. It is made once.
    pub fn document_text(&self) -> Result<&str, serde_json::Error> {
        self.text.of(&self.document)
    }
}

/// The columns of the index of phone numbers.
const NUMBER_INDEX: &str =
    r#"(substring(document, '"number":"([+][0-9]+)"')) where phone_number_id is not null"#;

impl Projection for Identities {
    const NAME: &'static str = "identities";
    const VERSION: i32 = 7;
    const KIND: Kind = Kind::Identity;
    type Row = Row;

    fn fold(row: Option<Row>, event: &Recorded) -> Option<Row> {
        let (document, tunnel_metadata, created_at, access_version) = match row {
            Some(row) => (Some(row.document), row.tunnel_metadata, row.created_at, row.access_version),
            None => (None, "{}".to_owned(), event.recorded_at, 0),
        };
        let changes_access = VisibilityRows::effect(event) != Effect::Nothing;
        let access_version = if changes_access { event.sequence } else { access_version };
        let tunnel_metadata = match &event.event {
            domain::Event::Identity(Event::TunnelMetadataChanged { metadata }) => metadata.clone(),
            _ => tunnel_metadata,
        };
        let document = IdentityDocument::fold(document, event)?;
        let (version, changed_at) = (event.sequence, Some(event.recorded_at));
        let text = DocumentText::default();
        Some(Row { document, tunnel_metadata, created_at, version, changed_at, access_version, text })
    }

    const COLUMNS: &'static [Column] = TableIdentity::COLUMNS;

    const INDEXES: &'static [Index] = &[
        Index::unique("identities_agent_handle", "(agent_handle)"),
        Index::unique("identities_email_address", "(email_address)"),
        Index::unique("identities_tunnel", "(tunnel_id)"),
        Index::of("identities_mailbox", "(mailbox_id)"),
        Index::unique("identities_phone_number", "(phone_number_id) where phone_number_id is not null"),
        // A number is never given to two. What the client wrote does not match: in a string the quotes are escaped.
        Index::unique("identities_number", NUMBER_INDEX),
        Index::of("identities_with_number", "(organization_id) where phone_number_id is not null"),
        Index::of("identities_newest", "(organization_id, created_at desc, id desc)"),
    ];

    fn copy(_id: &str, row: &Row, writer: &mut CopyWriter) -> Result<(), ReadModelFailure> {
        TableIdentity::of(row)?.copy(writer);
        Ok(())
    }

    fn live() -> Box<dyn Fold> {
        Box::new(FoldWithAccess::<Self>::default())
    }
}

impl LoadedModel for Identities {
    const IS_HANDED_OUT: bool = true;

    async fn load(
        connection: &mut PgConnection,
        ids: &[&str],
    ) -> Result<HashMap<String, Row>, ReadModelFailure> {
        let query =
            concat!("select id, ", whole_row!(), " from identities where id = any($1::text[]::uuid[])");
        let rows = sqlx::query(query).bind(ids).fetch_all(connection).await?;
        rows.iter().map(|row| Ok((row.try_get::<Uuid, _>("id")?.to_string(), row_of(row)?))).collect()
    }

    fn store(changes: &[Change<Row>], writes: &mut Writes) -> Result<(), ReadModelFailure> {
        park_names(changes, writes)?;
        columns::delete::<TableIdentity<'_>, _>(Self::NAME, changes, writes)?;
        let rows = changes.iter().filter_map(|change| change.after.as_ref()).map(TableIdentity::of);
        columns::put::<TableIdentity<'_>, _>(Self::NAME, &rows.collect::<Result<Vec<_>, _>>()?, writes)
    }
}

impl HasAccess for Identities {
    fn access_version(row: &Row) -> i64 {
        row.access_version
    }

    async fn load_with_access(
        connection: &mut PgConnection,
        ids: &[&str],
        known_at: &HashMap<&str, i64>,
    ) -> Result<Vec<(String, Row, Rows)>, ReadModelFailure> {
        let (shown, known_at): (Vec<&str>, Vec<i64>) = known_at.iter().unzip();
        let query = concat!(
            "select id, ",
            whole_row!(),
            ", access_ids, viewer_ids, granted_at
             from identities
             left join unnest($2::text[]::uuid[], $3::bigint[]) as shown (shown_id, known_at) on shown_id = id
             cross join lateral (
                 select array_agg(access_id) as access_ids, array_agg(viewer_id) as viewer_ids,
                        array_agg(visibility.created_at) as granted_at
                 from visibility
                 where target_id = id
                   and coalesce(access_version, 0) > known_at
                   and (viewer_id is null or exists (select from identities as viewer where viewer.id = viewer_id offset 0))
             ) as access
             where id = any($1::text[]::uuid[])"
        );
        let found = sqlx::query(query).bind(ids).bind(shown).bind(known_at).fetch_all(connection).await?;
        found
            .iter()
            .map(|found| {
                let row = row_of(found)?;
                let access = access_of(found, &row.document.organization_id)?;
                Ok((row.document.id.to_string(), row, access))
            })
            .collect()
    }
}

fn access_of(found: &PgRow, organization_id: &str) -> Result<Rows, sqlx::Error> {
    let ids: Option<Vec<Uuid>> = found.try_get("access_ids")?;
    let viewers: Option<Vec<Option<Uuid>>> = found.try_get("viewer_ids")?;
    let granted_at: Option<Vec<OffsetDateTime>> = found.try_get("granted_at")?;
    let rows =
        ids.into_iter().flatten().zip(viewers.into_iter().flatten()).zip(granted_at.into_iter().flatten());
    let rows = rows.map(|((access_id, viewer_id), created_at)| {
        let organization_id = organization_id.to_owned();
        (viewer_id, AccessRow { access_id, viewer_id, organization_id, created_at })
    });
    Ok(rows.collect())
}

table_row! {
    /// An identity as it stands in the table: the document, and what lists and look-ups need of it.
    struct TableIdentity<'a> {
        id: Uuid,
        organization_id: &'a str,
        agent_handle: &'a str,
        email_address: &'a str,
        status: &'a str,
        tunnel_id: Uuid,
        phone_number_id: Option<Uuid>,
        created_at: OffsetDateTime,
        version: i64,
        tunnel_metadata: &'a str,
        document: &'a str,
        /// The display name in the form that searches compare.
        folded_name: Option<String>,
        access_version: Option<i64>,
        changed_at: Option<OffsetDateTime>,
        mailbox_id: Option<Uuid>,
    }
}

impl<'a> TableIdentity<'a> {
    fn of(row: &'a Row) -> Result<Self, serde_json::Error> {
        let document = &row.document;
        Ok(Self {
            id: document.id,
            organization_id: &document.organization_id,
            agent_handle: &document.agent_handle,
            email_address: &document.email_address,
            status: status_name(document.status),
            tunnel_id: document.tunnel.id,
            phone_number_id: document.phone_number.as_ref().map(|phone| phone.id),
            created_at: row.created_at,
            version: row.version,
            tunnel_metadata: &row.tunnel_metadata,
            document: row.document_text()?,
            folded_name: document.display_name.as_deref().map(folded),
            access_version: Some(row.access_version),
            changed_at: row.changed_at,
            mailbox_id: Some(document.mailbox.id),
        })
    }
}

/// Renames the rows of identities whose handle or mail address another identity gets in the same batch, before the
/// other rows are written. The rows of a batch are written in no particular order, so two identities that swap
/// handles would otherwise violate the unique index. The temporary name is `@<id>`; no handle and no mail address
/// begins with `@`.
fn park_names(changes: &[Change<Row>], writes: &mut Writes) -> Result<(), ReadModelFailure> {
    let giving_up = identities_giving_up_names(changes);
    if !giving_up.is_empty() {
        let mut statement = Statement::new(
            "update identities set agent_handle = '@' || id, email_address = '@' || id where id = any(?)",
        );
        statement.bind(giving_up)?;
        writes.before(statement);
    }
    Ok(())
}

/// Identities whose handle or mail address belongs to another identity after these changes.
fn identities_giving_up_names(changes: &[Change<Row>]) -> Vec<Uuid> {
    let after = changes.iter().filter_map(|change| change.after.as_ref()).map(|row| &row.document);
    let holders: HashMap<&str, Uuid> =
        after.flat_map(|document| names(document).map(|name| (name, document.id))).collect();
    let before = changes.iter().filter_map(|change| change.before.as_ref()).map(|row| &row.document);
    let giving_up = before.filter(|document| {
        names(document).iter().any(|name| holders.get(name).is_some_and(|holder| *holder != document.id))
    });
    giving_up.map(|document| document.id).collect()
}

fn names(document: &IdentityDocument) -> [&str; 2] {
    [&document.agent_handle, &document.email_address]
}

fn row_of(row: &PgRow) -> Result<Row, ReadModelFailure> {
    Ok(Row {
        document: serde_json::from_str(row.try_get("document")?)?,
        tunnel_metadata: row.try_get("tunnel_metadata")?,
        created_at: row.try_get("created_at")?,
        version: row.try_get("version")?,
        changed_at: row.try_get("changed_at")?,
        access_version: row.try_get("access_version")?,
        text: DocumentText::default(),
    })
}

/// A text in lower case, for every script and independent of the locale of the database. Each character is folded by
/// itself, so a part of a text folds to the same part of the folded text. For that reason the final sigma `ς` becomes
/// `σ`.
pub(crate) fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let lower = text.chars().flat_map(char::to_lowercase);
    lower.map(|letter| if letter == 'ς' { 'σ' } else { letter }).collect()
}

pub(crate) const fn status_name(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Paused => "paused",
    }
}

/// The row of the identity with this id, for every viewer.
pub async fn row(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    id: Uuid,
) -> Result<Option<Row>, ReadModelFailure> {
    let row = sqlx::query(concat!(
        "select ",
        whole_row!(),
        " from read_model.identities
         where organization_id = $1 and id = $2",
    ))
    .bind(organization_id)
    .bind(id)
    .fetch_optional(executor)
    .await?;
    row.as_ref().map(row_of).transpose()
}

/// A part of an identity, by which its owner is looked up. Visibility does not extend to parts: an agent sees only
/// its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// A phone number, by its id.
    PhoneNumber(Uuid),
    /// A tunnel, by its id.
    Tunnel(Uuid),
    /// A mailbox, by its full address.
    Mailbox(&'a str),
    /// A mailbox, by its id.
    MailboxId(Uuid),
}

/// The identity that owns a part. For an agent it is the agent itself or `None`.
pub async fn owner_of(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
    part: Part<'_>,
) -> Result<Option<Row>, ReadModelFailure> {
    let (phone_number, tunnel, mailbox, mailbox_id) = match part {
        Part::PhoneNumber(id) => (Some(id), None, None, None),
        Part::Tunnel(id) => (None, Some(id), None, None),
        Part::Mailbox(address) => (None, None, Some(address), None),
        Part::MailboxId(id) => (None, None, None, Some(id)),
    };
    let row = sqlx::query(concat!(
        "select ",
        whole_row!(),
        " from read_model.identities
         where organization_id = $1
           and ($2::uuid is null or id = $2)
           and (phone_number_id = $3 or tunnel_id = $4 or email_address = $5 or mailbox_id = $6)",
    ))
    .bind(organization_id)
    .bind(viewer.agent_id())
    .bind(phone_number)
    .bind(tunnel)
    .bind(mailbox)
    .bind(mailbox_id)
    .fetch_optional(executor)
    .await?;
    row.as_ref().map(row_of).transpose()
}

/// The phone numbers that this viewer may see, newest first, each as JSON text. Of identities without one nothing is read.
pub async fn phone_numbers(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
) -> Result<Vec<String>, sqlx::Error> {
    // All timestamps are written with the same width, so their texts sort as they do.
    sqlx::query_scalar(
        r#"select phone_number::text
           from read_model.identities,
                lateral (select document::json -> 'phone_number' as phone_number) as number
           where organization_id = $1
             and ($2::uuid is null or id = $2)
             and phone_number_id is not null
           order by (phone_number ->> 'created_at') collate "C" desc, phone_number_id desc"#,
    )
    .bind(organization_id)
    .bind(viewer.agent_id())
    .fetch_all(executor)
    .await
}
