//! The rows of all read models that are folded from one identity, and their form in JSON.

use identity_log::Recorded;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::model::RowsOfAggregate;
use crate::document::{DocumentText, IdentityDocument};
use crate::identities::{Identities, Row};
use crate::projection::Projection as _;
use crate::vault_access::{Rule, Rules, VaultAccess};
use crate::visibility::{AccessRow, Rows, VisibilityRows};

/// The rows that the folds of the live read models make of one identity.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IdentityRows {
    /// The identity; `None` if it does not exist.
    pub row: Option<Row>,
    /// Who may see it.
    pub access: Option<Rows>,
    /// Which secrets it may use.
    pub secrets: Option<Rules>,
}

impl RowsOfAggregate for IdentityRows {
    fn evolve(&mut self, recorded: &Recorded) {
        self.row = Identities::fold(self.row.take(), recorded);
        self.access = VisibilityRows::fold(self.access.take(), recorded);
        self.secrets = VaultAccess::fold(self.secrets.take(), recorded);
    }

    fn encode(&self) -> Result<Option<String>, serde_json::Error> {
        let access = self.access.iter().flat_map(Rows::values);
        let secrets = self.secrets.iter().flatten();
        let form = RowsJson {
            row: self.row.clone().map(RowJson::from),
            access: access.map(|row| (row.access_id, row.viewer_id, microseconds(row.created_at))).collect(),
            secrets: secrets
                .map(|(secret, rule)| (*secret, rule.access_id, microseconds(rule.created_at)))
                .collect(),
        };
        serde_json::to_string(&form).map(Some)
    }

    fn decode(organization_id: &str, text: Option<&str>) -> Result<Self, serde_json::Error> {
        let text = text.ok_or_else(|| serde_json::Error::custom("no rows are stored"))?;
        let RowsJson { row, access, secrets } = serde_json::from_str(text)?;
        let access = access.into_iter().map(|(access_id, viewer_id, created_at)| {
            let (organization_id, created_at) = (organization_id.to_owned(), moment(created_at)?);
            Ok((viewer_id, AccessRow { access_id, viewer_id, organization_id, created_at }))
        });
        let secrets = secrets.into_iter().map(|(secret, access_id, created_at)| {
            Ok((secret, Rule { access_id, created_at: moment(created_at)? }))
        });
        let (access, secrets) = (
            access.collect::<Result<Rows, serde_json::Error>>()?,
            secrets.collect::<Result<Rules, serde_json::Error>>()?,
        );
        Ok(Self {
            row: row.map(Row::try_from).transpose()?,
            access: Some(access).filter(|rows| !rows.is_empty()),
            secrets: Some(secrets).filter(|rules| !rules.is_empty()),
        })
    }
}

/// The rows in JSON. Moments are microseconds since 1970.
#[derive(Serialize, Deserialize)]
struct RowsJson {
    row: Option<RowJson>,
    /// Id, viewer, and when it was created.
    access: Vec<(Uuid, Option<Uuid>, i64)>,
    /// Secret, id of the rule, and when it was created.
    secrets: Vec<(Uuid, Uuid, i64)>,
}

#[derive(Serialize, Deserialize)]
struct RowJson {
    document: Box<IdentityDocument>,
    tunnel_metadata: String,
    created_at: i64,
    version: i64,
    changed_at: Option<i64>,
    access_version: i64,
}

impl From<Row> for RowJson {
    fn from(row: Row) -> Self {
        let Row { document, tunnel_metadata, created_at, version, changed_at, access_version, .. } = row;
        let (created_at, changed_at) = (microseconds(created_at), changed_at.map(microseconds));
        Self { document, tunnel_metadata, created_at, version, changed_at, access_version }
    }
}

impl TryFrom<RowJson> for Row {
    type Error = serde_json::Error;

    fn try_from(form: RowJson) -> Result<Self, serde_json::Error> {
        let RowJson { document, tunnel_metadata, created_at, version, changed_at, access_version } = form;
        let (created_at, changed_at) = (moment(created_at)?, changed_at.map(moment).transpose()?);
        let text = DocumentText::default();
        Ok(Self { document, tunnel_metadata, created_at, version, changed_at, access_version, text })
    }
}

/// A moment that Postgres has stored. Its range is smaller than that of the result.
fn microseconds(moment: OffsetDateTime) -> i64 {
    i64::try_from(moment.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
}

fn moment(microseconds: i64) -> Result<OffsetDateTime, serde_json::Error> {
    let nanoseconds = i128::from(microseconds) * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).map_err(serde_json::Error::custom)
}
