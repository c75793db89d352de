//! Webhook subscriptions that are not deleted. Contract, section 10.6.

use std::collections::HashMap;

use identity_domain::webhook_subscription::{ContextConfig, Creation, Event, OwnerKind, Settings};
use identity_domain::{self as domain, Kind};
use identity_log::copy::CopyWriter;
use identity_log::{Fold, ReadModelFailure, Recorded, Writes, read};
use sqlx::{FromRow, PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::change::Change;
use crate::columns::{self, Column, Index, TableRow as _, cell, table_row};
use crate::identities::Viewer;
use crate::identities::listing::ListPlace;
use crate::projection::{LoadedFold, LoadedModel, Projection};
use crate::versioned::Versioned;

/// The read model.
#[derive(Debug)]
pub struct WebhookSubscriptions;

/// The types of events of a subscription, in the order in which the client named them. No name has a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTypes(String);

impl EventTypes {
    fn of(names: &[String]) -> Self {
        Self(names.join(" "))
    }

    /// Their names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ')
    }
}

impl From<String> for EventTypes {
    fn from(names: String) -> Self {
        Self(names)
    }
}

cell!(EventTypes as "text", &'a str, self => self.0.as_str(), text);

/// The word for a subscription to which events are sent.
pub const ACTIVE: &str = "active";

/// The word for a subscription to which nothing is sent.
pub const DISABLED: &str = "disabled";

table_row! {
    /// The row of a subscription.
    #[derive(Debug, Clone, PartialEq, Eq, FromRow)]
    pub struct Row {
        /// Its id.
        pub id: Uuid,
        /// Its organization.
        pub organization_id: String,
        /// The identity to which its owner belongs, or which is its owner.
        pub identity_id: Uuid,
        /// Wire name of the kind of its owner.
        pub owner_kind: String,
        /// The id of its owner.
        pub owner_id: Uuid,
        /// The address.
        pub url: String,
        /// The types of events that are sent.
        #[sqlx(try_from = "String")]
        pub event_types: EventTypes,
        /// JSON text of a [`ContextConfig`].
        pub context_config: Option<String>,
        /// Whether deliveries carry a bearer token.
        pub has_auth_token: bool,
        /// [`ACTIVE`] or [`DISABLED`].
        pub status: String,
        /// Why it is disabled.
        pub disabled_reason: Option<String>,
        /// When it was created.
        pub created_at: OffsetDateTime,
        /// When it last changed.
        pub changed_at: OffsetDateTime,
        /// The position of the log at which it was created, or made active again. Events before are not sent.
        pub active_after: i64,
    }
}

impl Row {
    /// How much of a conversation is sent along.
    pub fn context(&self) -> Result<Option<ContextConfig>, serde_json::Error> {
        self.context_config.as_deref().map(serde_json::from_str).transpose()
    }

    /// The id of the owner, if it is of this kind.
    pub fn owner(&self, kind: OwnerKind) -> Option<Uuid> {
        (self.owner_kind == kind_name(kind)).then_some(self.owner_id)
    }

    fn with(self, settings: &Settings) -> Self {
        Self {
            url: settings.url.clone(),
            event_types: EventTypes::of(&settings.event_types),
            context_config: settings.context_config.map(context_text),
            has_auth_token: settings.has_auth_token,
            status: ACTIVE.to_owned(),
            disabled_reason: None,
            ..self
        }
    }
}

/// Numbers and names always encode.
fn context_text(config: ContextConfig) -> String {
    serde_json::to_string(&config).unwrap_or_default()
}

/// The wire name of a kind of owner.
const fn kind_name(kind: OwnerKind) -> &'static str {
    match kind {
        OwnerKind::Mailbox => "mailbox",
        OwnerKind::PhoneNumber => "phone_number",
        OwnerKind::Identity => "identity",
    }
}

impl Projection for WebhookSubscriptions {
    const NAME: &'static str = "webhook_subscriptions";
    const VERSION: i32 = 1;
    const KIND: Kind = Kind::WebhookSubscription;
    type Row = Row;

    fn fold(row: Option<Row>, recorded: &Recorded) -> Option<Row> {
        let domain::Event::WebhookSubscription(event) = &recorded.event else {
            return row;
        };
        let changed_at = recorded.recorded_at;
        match (row, event) {
            (_, Event::Created(creation)) => born(recorded, creation),
            (_, Event::Deleted { .. }) | (None, _) => None,
            (Some(row), Event::Changed(settings)) => {
                // What happened while it was disabled is not sent.
                let active_after = if row.status == ACTIVE { row.active_after } else { recorded.position };
                Some(Row { changed_at, active_after, ..row.with(settings) })
            }
            (Some(row), Event::Disabled { reason }) => {
                let (status, disabled_reason) = (DISABLED.to_owned(), Some(reason.as_str().to_owned()));
                Some(Row { status, disabled_reason, changed_at, ..row })
            }
        }
    }

    const COLUMNS: &'static [Column] = Row::COLUMNS;

    const INDEXES: &'static [Index] = &[
        Index::of("webhook_subscriptions_newest", "(organization_id, created_at desc, id desc)"),
        Index::of("webhook_subscriptions_identity", "(identity_id)"),
    ];

    fn copy(_id: &str, row: &Row, writer: &mut CopyWriter) -> Result<(), ReadModelFailure> {
        row.copy(writer);
        Ok(())
    }

    fn live() -> Box<dyn Fold> {
        Box::new(LoadedFold::<Self>::default())
    }
}

impl LoadedModel for WebhookSubscriptions {
    const IS_HANDED_OUT: bool = true;

    async fn load(
        connection: &mut PgConnection,
        ids: &[&str],
    ) -> Result<HashMap<String, Row>, ReadModelFailure> {
        let rows: Vec<Row> = columns::load(connection, Self::NAME, ids).await?;
        Ok(rows.into_iter().map(|row| (row.id.to_string(), row)).collect())
    }

    fn store(changes: &[Change<Row>], writes: &mut Writes) -> Result<(), ReadModelFailure> {
        columns::store(Self::NAME, changes, writes)
    }
}

fn born(recorded: &Recorded, creation: &Creation) -> Option<Row> {
    let row = Row {
        id: recorded.aggregate_id.parse().ok()?,
        organization_id: recorded.organization_id.clone(),
        identity_id: creation.identity_id,
        owner_kind: kind_name(creation.owner.kind).to_owned(),
        owner_id: creation.owner.id,
        url: String::new(),
        event_types: EventTypes::of(&[]),
        context_config: None,
        has_auth_token: false,
        status: String::new(),
        disabled_reason: None,
        created_at: recorded.recorded_at,
        changed_at: recorded.recorded_at,
        active_after: recorded.position,
    };
    Some(row.with(&creation.settings))
}

/// Which subscriptions of an organization are listed. The default lists all.
#[derive(Debug, Default)]
pub struct Filter {
    /// Those of this mailbox.
    pub mailbox_id: Option<Uuid>,
    /// Those of this phone number.
    pub phone_number_id: Option<Uuid>,
    /// Those that this identity owns itself.
    pub identity_id: Option<Uuid>,
    /// Those of this identity, of its mailbox and of its phone number.
    pub of_identity: Option<Uuid>,
    /// Those with this very address.
    pub url: Option<String>,
    /// Those to which events of this type are sent.
    pub event_type: Option<String>,
}

/// The subscriptions of an organization that this viewer may see, newest first: all for an admin, its own for an agent. At most
/// `limit`, after the place `after`.
pub async fn list(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
    filter: &Filter,
    after: Option<ListPlace>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let columns = columns::names(Row::COLUMNS);
    let owner = [
        (OwnerKind::Mailbox, filter.mailbox_id),
        (OwnerKind::PhoneNumber, filter.phone_number_id),
        (OwnerKind::Identity, filter.identity_id),
    ]
    .into_iter()
    .find_map(|(kind, id)| Some((kind_name(kind), id?)))
    .unzip();
    sqlx::query_as(&format!(
        "select {columns}
         from read_model.webhook_subscriptions
         where organization_id = $1
           and ($2::uuid is null or identity_id = $2)
           and ($3::text is null or (owner_kind = $3 and owner_id = $4))
           and ($5::uuid is null or identity_id = $5)
           and ($6::text is null or url = $6)
           and ($7::text is null or $7 = any(string_to_array(event_types, ' ')))
           and ($8::timestamptz is null or (created_at, id) < ($8, $9))
         order by created_at desc, id desc
         limit $10"
    ))
    .bind(organization_id)
    .bind(viewer.agent_id())
    .bind(owner.0)
    .bind(owner.1)
    .bind(filter.of_identity)
    .bind(filter.url.as_deref())
    .bind(filter.event_type.as_deref())
    .bind(after.map(|place| place.created_at))
    .bind(after.map(|place| place.id))
    .bind(limit)
    .fetch_all(executor)
    .await
}

/// The subscription with this id, if this viewer may see it.
pub async fn find(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
    id: Uuid,
) -> Result<Option<Versioned<Row>>, sqlx::Error> {
    sqlx::query_as(&format!(
        "select {}, version, versioned_at from read_model.webhook_subscriptions {}
         where id = $3 and organization_id = $1 and ($2::uuid is null or identity_id = $2)",
        columns::names(Row::COLUMNS),
        read::joined_version(WebhookSubscriptions::KIND, "webhook_subscriptions.id")
    ))
    .bind(organization_id)
    .bind(viewer.agent_id())
    .bind(id)
    .fetch_optional(executor)
    .await
}

/// The subscription with this id, of whichever organization.
pub async fn row(executor: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    let columns = columns::names(Row::COLUMNS);
    sqlx::query_as(&format!("select {columns} from read_model.webhook_subscriptions where id = $1"))
        .bind(id)
        .fetch_optional(executor)
        .await
}
