//! Whose subscriptions get an event.

use std::collections::{HashMap, HashSet};

use identity_domain::identity::{Event as IdentityEvent, Status};
use identity_domain::{Event, Kind};
use identity_log::Recorded;
use identity_projections::identities::Viewer;
use identity_projections::past;
use serde::Deserialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::QueueError;

/// Which identities are told of an event. The identity that it is about is always told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Audience {
    /// No other one.
    Itself,
    /// Those that see it at present.
    Viewers,
    /// One viewer, if it sees it at present.
    Viewer(Uuid),
    /// These viewers, which see it no longer.
    Former(HashSet<Uuid>),
    /// Everybody, who see it no longer.
    Everybody,
}

impl Audience {
    /// This viewer, if it belongs to those who see the identity no longer.
    fn only(self, viewer: Uuid) -> Self {
        let belongs = match &self {
            Self::Everybody => true,
            Self::Former(viewers) => viewers.contains(&viewer),
            Self::Itself | Self::Viewers | Self::Viewer(_) => false,
        };
        Self::Former(if belongs { HashSet::from([viewer]) } else { HashSet::new() })
    }
}

/// An event, the identity that it is about, and who is told.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) event: &'a Recorded,
    pub(crate) event_type: &'static str,
    pub(crate) subject: Uuid,
    pub(crate) audience: Audience,
}

impl Told<'_> {
    /// Whether the audience sees the identity still, so that its document is sent along.
    pub(crate) fn shows_document(&self) -> bool {
        matches!(self.audience, Audience::Itself | Audience::Viewers | Audience::Viewer(_))
    }

    /// Whether the identity may be told, if it sees the subject at present or need not see it.
    pub(crate) fn includes(&self, identity: Uuid) -> bool {
        identity == self.subject
            || match &self.audience {
                Audience::Itself => false,
                Audience::Viewers | Audience::Everybody => true,
                Audience::Viewer(viewer) => *viewer == identity,
                Audience::Former(viewers) => viewers.contains(&identity),
            }
    }
}

/// The identities of keys and of subscriptions, whose events do not name them.
#[derive(Debug, Default)]
pub(crate) struct Owners(HashMap<String, Uuid>);

impl Owners {
    pub(crate) async fn load(
        connection: &mut PgConnection,
        events: &[(&Recorded, &'static str)],
    ) -> Result<Self, sqlx::Error> {
        let ids: Vec<Uuid> = events
            .iter()
            .filter(|(event, _)| event.event.kind() != Kind::Identity)
            .filter_map(|(event, _)| event.aggregate_id.parse().ok())
            .collect();
        if ids.is_empty() {
            return Ok(Self::default());
        }
        let owners: Vec<(String, Uuid)> = sqlx::query_as(
            "select id::text, identity_id from read_model.api_keys where id = any($1) and identity_id is not null
             union all
             select id::text, identity_id from read_model.webhook_subscriptions where id = any($1)",
        )
        .bind(ids)
        .fetch_all(connection)
        .await?;
        Ok(Self(owners.into_iter().collect()))
    }

    /// Who is told of an event; `None` if it is about no identity.
    pub(crate) async fn told<'a>(
        &self,
        connection: &mut PgConnection,
        event: &'a Recorded,
        event_type: &'static str,
    ) -> Result<Option<Told<'a>>, QueueError> {
        let (subject, audience) = match &event.event {
            Event::Identity(change) => {
                let Ok(subject) = event.aggregate_id.parse() else { return Ok(None) };
                (subject, audience(connection, event, change, subject).await?)
            }
            Event::ApiKey(_) | Event::WebhookSubscription(_) => {
                let Some(owner) = self.0.get(&event.aggregate_id) else { return Ok(None) };
                (*owner, Audience::Itself)
            }
            Event::Organization(_) | Event::Vault(_) | Event::VaultSecret(_) => return Ok(None),
        };
        Ok(Some(Told { event, event_type, subject, audience }))
    }
}

async fn audience(
    connection: &mut PgConnection,
    event: &Recorded,
    change: &IdentityEvent,
    subject: Uuid,
) -> Result<Audience, QueueError> {
    Ok(match change {
        IdentityEvent::VisibilityGranted { grant } => Audience::Viewer(grant.viewer_identity_id),
        IdentityEvent::VisibilityRevoked { viewer_identity_id }
        | IdentityEvent::VisibilityNarrowed { viewer_identity_id, .. } => {
            former_viewers(connection, event, subject).await?.only(*viewer_identity_id)
        }
        IdentityEvent::Deleted { .. } | IdentityEvent::StatusChanged { status: Status::Paused } => {
            former_viewers(connection, event, subject).await?
        }
        IdentityEvent::PhoneChanged { .. }
        | IdentityEvent::VaultAccessGranted { .. }
        | IdentityEvent::VaultAccessRevoked { .. } => Audience::Itself,
        IdentityEvent::Created { .. }
        | IdentityEvent::Renamed { .. }
        | IdentityEvent::DisplayNameChanged { .. }
        | IdentityEvent::DescriptionChanged { .. }
        | IdentityEvent::ImessageChanged { .. }
        | IdentityEvent::ContactSharingChanged { .. }
        | IdentityEvent::FilterModeChanged { .. }
        | IdentityEvent::FilterModesSplit { .. }
        | IdentityEvent::MailboxSignatureChanged { .. }
        | IdentityEvent::StatusChanged { .. }
        | IdentityEvent::VisibilityOpened { .. }
        | IdentityEvent::PhoneProvisioned { .. }
        | IdentityEvent::PhoneReleased { .. }
        | IdentityEvent::TunnelMetadataChanged { .. }
        | IdentityEvent::SigningKeySet { .. } => Audience::Viewers,
    })
}

/// What of a former document says whether anybody else saw the identity.
#[derive(Deserialize)]
struct State {
    status: Status,
}

/// What of a former document says who saw the identity.
#[derive(Deserialize)]
struct Access {
    viewer_identity_id: Option<Uuid>,
}

/// Who saw an identity until an event hid it: nobody, if it was paused. Its access rows are gone or may have changed since, so they are
/// folded from its history.
async fn former_viewers(
    connection: &mut PgConnection,
    event: &Recorded,
    subject: Uuid,
) -> Result<Audience, QueueError> {
    let (organization, before) = (&event.organization_id, event.sequence - 1);
    let before = past::find_by_id(connection, organization, &Viewer::Admin, subject, before).await?;
    let Some(before) = before else { return Ok(Audience::Former(HashSet::new())) };
    let State { status } = serde_json::from_str(&before.document)?;
    if status != Status::Active {
        return Ok(Audience::Former(HashSet::new()));
    }
    let access: Vec<Access> = serde_json::from_str(&format!("[{}]", before.access))?;
    let viewers = access.iter().map(|row| row.viewer_identity_id).collect::<Option<HashSet<Uuid>>>();
    Ok(viewers.map_or(Audience::Everybody, Audience::Former))
}
