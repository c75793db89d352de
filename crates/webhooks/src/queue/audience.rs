//! Whose subscriptions get an event.

use std::collections::{HashMap, HashSet};

use identity_domain::identity::{Event as IdentityEvent, Status};
use identity_domain::{Event, Kind};
use identity_log::Recorded;
use sqlx::PgConnection;
use uuid::Uuid;

use super::former::FormerViewers;

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
                Audience::Viewers => true,
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
        // A subscription may be deleted by now. Its first event names the identity, too.
        let owners: Vec<(String, Uuid)> = sqlx::query_as(
            "select id::text, identity_id from read_model.api_keys where id = any($1) and identity_id is not null
             union all
             select aggregate_id, (payload ->> 'identity_id')::uuid from events
             where aggregate_type = 'webhook_subscription' and aggregate_id = any($1::text[]) and sequence = 1",
        )
        .bind(ids)
        .fetch_all(connection)
        .await?;
        Ok(Self(owners.into_iter().collect()))
    }

    /// Who is told of an event; `None` if it is about no identity.
    pub(super) fn told<'a>(
        &self,
        event: &'a Recorded,
        event_type: &'static str,
        former: &FormerViewers,
    ) -> Option<Told<'a>> {
        let (subject, audience) = match &event.event {
            Event::Identity(change) => {
                (event.aggregate_id.parse().ok()?, audience(change, || former.of(event)))
            }
            Event::ApiKey(_) | Event::WebhookSubscription(_) => {
                (*self.0.get(&event.aggregate_id)?, Audience::Itself)
            }
            Event::Organization(_) | Event::Vault(_) | Event::VaultSecret(_) => return None,
        };
        Some(Told { event, event_type, subject, audience })
    }
}

fn audience(change: &IdentityEvent, former: impl FnOnce() -> HashSet<Uuid>) -> Audience {
    match change {
        IdentityEvent::VisibilityGranted { grant } => Audience::Viewer(grant.viewer_identity_id),
        IdentityEvent::VisibilityRevoked { .. }
        | IdentityEvent::VisibilityNarrowed { .. }
        | IdentityEvent::Deleted { .. }
        | IdentityEvent::StatusChanged { status: Status::Paused } => Audience::Former(former()),
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
    }
}
