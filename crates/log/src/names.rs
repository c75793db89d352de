//! Who holds which name. A claim is derived from events, one event at a time, and consulted under the head lock.

use identity_domain::identity::Event as IdentityEvent;
use identity_domain::{Event, Namespace};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::recorded::Recorded;

/// A name with its holder, or with its last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// In which namespace.
    pub namespace: Namespace,
    /// The name.
    pub name: String,
    /// The holder's organization.
    pub organization_id: String,
    /// The holder.
    pub identity_id: Uuid,
    /// When the holder gave it up.
    pub released_at: Option<OffsetDateTime>,
}

/// The claims as they stand after an event, as far as it changes any.
pub fn fold(recorded: &Recorded) -> Vec<Claim> {
    let Event::Identity(event) = &recorded.event else {
        return vec![];
    };
    let Ok(identity_id) = recorded.aggregate_id.parse() else {
        return vec![];
    };
    let claim = |namespace, name: &str, released_at| Claim {
        namespace,
        name: name.to_owned(),
        organization_id: recorded.organization_id.clone(),
        identity_id,
        released_at,
    };
    let released = Some(recorded.recorded_at);
    let (identities, tunnels, mail) = (Namespace::Identities, Namespace::Tunnels, Namespace::Mail);
    match event {
        IdentityEvent::Created { agent_handle, mailbox, .. } => vec![
            claim(identities, agent_handle.as_str(), None),
            claim(tunnels, agent_handle.as_str(), None),
            claim(mail, local_part(&mailbox.email_address), None),
        ],
        IdentityEvent::Renamed { previous_agent_handle, agent_handle } => vec![
            claim(identities, previous_agent_handle.as_str(), released),
            claim(tunnels, previous_agent_handle.as_str(), released),
            claim(identities, agent_handle.as_str(), None),
            claim(tunnels, agent_handle.as_str(), None),
        ],
        IdentityEvent::Deleted { agent_handle, email_address } => vec![
            claim(identities, agent_handle.as_str(), released),
            claim(tunnels, agent_handle.as_str(), released),
            claim(mail, local_part(email_address), released),
        ],
        _ => vec![],
    }
}

fn local_part(email_address: &str) -> &str {
    email_address.split_once('@').map_or(email_address, |(local, _)| local)
}

/// The claims on some names, in any namespace.
pub(crate) async fn find(connection: &mut PgConnection, names: &[&str]) -> Result<Vec<Claim>, sqlx::Error> {
    let rows = sqlx::query(
        "select claim.*
         from unnest($1::text[]) as wanted
         cross join unnest(array['identities', 'tunnels', 'mail']) as known
         cross join lateral (
             select namespace, name, organization_id, identity_id, released_at
             from name_claims
             where name = wanted and namespace = known
             offset 0
         ) as claim",
    )
    .bind(names)
    .fetch_all(connection)
    .await?;
    rows.iter().map(claim).collect()
}

/// The live identities of an organization, in the order of their ids.
pub(crate) async fn live_identities(
    connection: &mut PgConnection,
    organization_id: &str,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "select identity_id
         from name_claims
         where organization_id = $1 and namespace = 'identities' and released_at is null
         order by identity_id",
    )
    .bind(organization_id)
    .fetch_all(connection)
    .await
}

fn claim(row: &sqlx::postgres::PgRow) -> Result<Claim, sqlx::Error> {
    let namespace: &str = row.try_get("namespace")?;
    let namespace = Namespace::ALL.into_iter().find(|known| known.as_str() == namespace);
    Ok(Claim {
        namespace: namespace.ok_or_else(|| sqlx::Error::Decode("unknown namespace".into()))?,
        name: row.try_get("name")?,
        organization_id: row.try_get("organization_id")?,
        identity_id: row.try_get("identity_id")?,
        released_at: row.try_get("released_at")?,
    })
}
