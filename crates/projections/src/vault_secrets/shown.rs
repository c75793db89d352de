//! Vault secrets with what belongs to them: rules, content, version. One statement reads all of it at one moment. So nobody is
//! shown content that was written after the end of their rule, and no secret has the content of another version.

use std::fmt;

use identity_domain::Kind;
use identity_domain::vault_secret::SecretType;
use identity_log::read;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Row, USABLE, type_name};
use crate::columns::{self, TableRow as _};
use crate::identities::Viewer;
use crate::identities::listing::ListPlace;
use crate::vault_access::AccessRule;
use crate::versioned::Versioned;

/// The name of the ciphertext that is the content of a secret.
pub const CONTENT: &str = "content";

/// A vault secret as a viewer is shown it.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownSecret {
    /// Its row.
    pub row: Row,
    /// Its rules, oldest first: for an agent its own.
    pub rules: Vec<AccessRule>,
    /// Its content, if it was asked for and is there.
    pub content: Option<String>,
}

impl fmt::Debug for ShownSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ShownSecret").field("row", &self.row).finish_non_exhaustive()
    }
}

impl ShownSecret {
    /// Its place in the list.
    pub fn place(&self) -> ListPlace {
        ListPlace { created_at: self.row.created_at, id: self.row.id }
    }
}

impl FromRow<'_, PgRow> for ShownSecret {
    fn from_row(found: &PgRow) -> Result<Self, sqlx::Error> {
        let row = Row::from_row(found)?;
        let ids: Vec<Uuid> = found.try_get("rule_ids")?;
        let identities: Vec<Uuid> = found.try_get("rule_identities")?;
        let moments: Vec<OffsetDateTime> = found.try_get("rule_moments")?;
        let rules = ids.into_iter().zip(identities).zip(moments);
        let rules = rules.map(|((access_id, identity_id), created_at)| AccessRule {
            identity_id,
            vault_secret_id: row.id,
            created_at,
            access_id,
        });
        let content: Option<Vec<u8>> = found.try_get("content")?;
        let content = content.map(String::from_utf8).transpose();
        let content = content.map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Self { rules: rules.collect(), content, row })
    }
}

/// SQL: the rules of a secret that the viewer is shown.
const RULES: &str = "cross join lateral (
    select coalesce(array_agg(access_id order by created_at, access_id), '{}') as rule_ids,
           coalesce(array_agg(identity_id order by created_at, access_id), '{}') as rule_identities,
           coalesce(array_agg(created_at order by created_at, access_id), '{}') as rule_moments
    from read_model.vault_access
    where vault_secret_id = secret.id and ($2::uuid is null or identity_id = $2)
) as rules";

/// SQL: the ciphertext that is the content of a secret.
fn content(expression: &str) -> String {
    format!(
        "(select {expression} from ciphertexts
          where aggregate_type = '{}' and aggregate_id = secret.id::text and name = '{CONTENT}')",
        Kind::VaultSecret.as_str()
    )
}

/// The secret with this id, with its content, if this viewer may use it.
pub async fn find(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
    id: Uuid,
) -> Result<Option<Versioned<ShownSecret>>, sqlx::Error> {
    sqlx::query_as(&format!(
        "select {}, rule_ids, rule_identities, rule_moments, {} as content, version, versioned_at
         from read_model.vault_secrets as secret
         {RULES}
         {}
         where {USABLE} and id = $3",
        columns::names(Row::COLUMNS),
        content("ciphertext"),
        read::joined_version(Kind::VaultSecret, "secret.id")
    ))
    .bind(organization_id)
    .bind(viewer.agent_id())
    .bind(id)
    .fetch_optional(executor)
    .await
}

/// Which secrets are listed. The default lists all, without their content.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    /// Those of this type.
    pub secret_type: Option<SecretType>,
    /// Those with content, and the content.
    pub with_content: bool,
}

/// A secret of a page.
#[derive(FromRow)]
struct Listed {
    #[sqlx(flatten)]
    shown: ShownSecret,
    /// How many secrets the page would have if it were not cut at `max_bytes`.
    page_rows: i64,
}

/// About how many bytes a secret takes in a list beside its texts.
const SECRET_BYTES: usize = 256;

/// About how many bytes a rule takes in an answer.
pub const RULE_BYTES: usize = 208;

/// The next secrets that this viewer may use, newest first: at most `limit`, after the place `after`, and no more once they have
/// about `max_bytes`. Also returns whether these are the last.
///
/// Postgres adds up the sizes, so it reads no content that is not sent.
pub async fn next(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
    filter: Filter,
    after: Option<ListPlace>,
    limit: u32,
    max_bytes: usize,
) -> Result<(Vec<ShownSecret>, bool), sqlx::Error> {
    let listed: Vec<Listed> = sqlx::query_as(&page(filter.with_content))
        .bind(organization_id)
        .bind(viewer.agent_id())
        .bind(filter.secret_type.map(type_name))
        .bind(after.map(|place| place.created_at))
        .bind(after.map(|place| place.id))
        .bind(i64::from(limit))
        .bind(i64::try_from(max_bytes).unwrap_or(i64::MAX))
        .fetch_all(executor)
        .await?;
    let page_rows = listed.first().map_or(0, |first| first.page_rows);
    let is_cut = usize::try_from(page_rows).is_ok_and(|rows| rows > listed.len());
    let is_last = !is_cut && page_rows < i64::from(limit);
    Ok((listed.into_iter().map(|listed| listed.shown).collect(), is_last))
}

/// The statement of [`next`].
fn page(with_content: bool) -> String {
    let (size, condition, shown) = if with_content {
        (
            content("octet_length(ciphertext)"),
            format!("and {} is not null", content("name")),
            content("ciphertext"),
        )
    } else {
        ("0".to_owned(), String::new(), "null::bytea".to_owned())
    };
    format!(
        "with page as (
             select id, created_at,
                    {SECRET_BYTES} + octet_length(name) + coalesce(octet_length(description), 0) + {size}
                    + {RULE_BYTES} * (select count(*) from read_model.vault_access
                                      where vault_secret_id = secret.id and ($2::uuid is null or identity_id = $2)) as size
             from read_model.vault_secrets as secret
             where {USABLE}
               and ($3::text is null or secret_type = $3)
               and ($4::timestamptz is null or (created_at, id) < ($4, $5))
               {condition}
             order by created_at desc, id desc
             limit $6
         ), measured as (
             select id, count(*) over () as page_rows,
                    sum(size) over (order by created_at desc, id desc) - size as bytes_before
             from page
         )
         select {}, rule_ids, rule_identities, rule_moments, {shown} as content, page_rows
         from measured
         join read_model.vault_secrets as secret using (id)
         {RULES}
         where bytes_before < $7
         order by created_at desc, id desc",
        columns::names(Row::COLUMNS)
    )
}
