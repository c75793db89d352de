//! Who holds which name. Claims are derived from events, one event at a time, and consulted before a name is given away.
//!
//! A name is held by one identity at a time: as its handle, which is the name of its tunnel, too, as the local part of its
//! mail address, or as both.

use std::collections::HashMap;

use identity_domain::identity::{Event as IdentityEvent, Live};
use identity_domain::{Event, Namespace};
use sqlx::{PgConnection, Row};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::recorded::Recorded;

/// A name with its holder, or with its last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) name: String,
    pub(crate) organization_id: String,
    pub(crate) identity_id: Uuid,
    /// When the holder gave it up as its handle.
    pub(crate) handle_released_at: Option<OffsetDateTime>,
    /// When the holder gave it up as its mail address. What never was one counts as given up when it was taken.
    pub(crate) mail_released_at: Option<OffsetDateTime>,
}

/// The claims on names that a batch speaks of.
#[derive(Debug, Default)]
pub(crate) struct Claims(HashMap<String, Known>);

#[derive(Debug)]
struct Known {
    claim: Claim,
    /// Whether there is a row of this name.
    stored: bool,
    changed: bool,
}

/// A claim that events have changed.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) claim: Claim,
    /// Whether there is a row of this name already.
    pub(crate) stored: bool,
}

impl Claims {
    /// Looks names up, as far as they are not known.
    pub(crate) async fn load(
        &mut self,
        connection: &mut PgConnection,
        names: impl Iterator<Item = String>,
    ) -> Result<(), sqlx::Error> {
        let unknown: Vec<String> = names.filter(|name| !self.0.contains_key(name)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        for claim in find(connection, &unknown).await? {
            self.0.insert(claim.name.clone(), Known { claim, stored: true, changed: false });
        }
        Ok(())
    }

    /// The first namespace in which somebody else holds the name, or has held it until not long enough ago.
    pub(crate) fn blocker(
        &self,
        name: &str,
        claimant: &str,
        hold: Duration,
        now: OffsetDateTime,
    ) -> Option<Namespace> {
        let Claim { identity_id, handle_released_at, mail_released_at, .. } = &self.0.get(name)?.claim;
        let is_held = |released_at: &Option<OffsetDateTime>| {
            let free_from = released_at.and_then(|released| released.checked_add(hold));
            free_from.is_none_or(|moment| moment > now)
        };
        if identity_id.to_string() == claimant {
            None
        } else if is_held(handle_released_at) {
            Some(Namespace::Identities)
        } else {
            is_held(mail_released_at).then_some(Namespace::Mail)
        }
    }

    /// Takes note of an event.
    pub(crate) fn learn(&mut self, recorded: &Recorded) {
        let Event::Identity(event) = &recorded.event else {
            return;
        };
        let now = Some(recorded.recorded_at);
        match event {
            IdentityEvent::Created { agent_handle, mailbox, .. } => {
                self.change(recorded, agent_handle.as_str(), |claim| claim.handle_released_at = None);
                let mail = local_part(&mailbox.email_address);
                self.change(recorded, mail, |claim| claim.mail_released_at = None);
            }
            IdentityEvent::Renamed { previous_agent_handle, agent_handle } => {
                let previous = previous_agent_handle.as_str();
                self.change(recorded, previous, |claim| claim.handle_released_at = now);
                self.change(recorded, agent_handle.as_str(), |claim| claim.handle_released_at = None);
            }
            IdentityEvent::Deleted { agent_handle, email_address } => {
                self.change(recorded, agent_handle.as_str(), |claim| claim.handle_released_at = now);
                self.change(recorded, local_part(email_address), |claim| claim.mail_released_at = now);
            }
            _ => {}
        }
    }

    /// Changes the claim of the event's identity on a name. A claim that another has left gives way to it.
    fn change(&mut self, recorded: &Recorded, name: &str, change: impl FnOnce(&mut Claim)) {
        let Ok(identity_id) = recorded.aggregate_id.parse() else {
            return;
        };
        let fresh = || Claim {
            name: name.to_owned(),
            organization_id: recorded.organization_id.clone(),
            identity_id,
            handle_released_at: Some(recorded.recorded_at),
            mail_released_at: Some(recorded.recorded_at),
        };
        let known = self.0.entry(name.to_owned());
        let known = known.or_insert_with(|| Known { claim: fresh(), stored: false, changed: true });
        if known.claim.identity_id != identity_id {
            known.claim = fresh();
        }
        known.changed = true;
        change(&mut known.claim);
    }

    /// The claims that events have changed, in the order of the names, in which they stand in the index; and what is known
    /// once they are written: just these, since others were only looked up.
    pub(crate) fn settle(mut self) -> (Vec<Changed>, Self) {
        self.0.retain(|_, known| known.changed);
        let changed = |Known { claim, stored, .. }: &Known| Changed { claim: claim.clone(), stored: *stored };
        let mut settled: Vec<Changed> = self.0.values().map(changed).collect();
        settled.sort_unstable_by(|one, other| one.claim.name.cmp(&other.claim.name));
        for known in self.0.values_mut() {
            (known.stored, known.changed) = (true, false);
        }
        (settled, self)
    }
}

/// The names that an identity holds.
pub(crate) fn held(live: &Live) -> [&str; 2] {
    [live.handle.as_str(), local_part(&live.email_address)]
}

fn local_part(email_address: &str) -> &str {
    email_address.split_once('@').map_or(email_address, |(local, _)| local)
}

async fn find(connection: &mut PgConnection, names: &[String]) -> Result<Vec<Claim>, sqlx::Error> {
    let rows = sqlx::query(
        "select name, organization_id, identity_id, handle_released_at, mail_released_at
         from unnest($1::text[]) as wanted
         cross join lateral (
             select name, organization_id, identity_id, handle_released_at, mail_released_at
             from name_claims
             where name = wanted
             offset 0
         ) as claim",
    )
    .bind(names)
    .fetch_all(connection)
    .await?;
    rows.iter().map(claim).collect()
}

fn claim(row: &sqlx::postgres::PgRow) -> Result<Claim, sqlx::Error> {
    Ok(Claim {
        name: row.try_get("name")?,
        organization_id: row.try_get("organization_id")?,
        identity_id: row.try_get("identity_id")?,
        handle_released_at: row.try_get("handle_released_at")?,
        mail_released_at: row.try_get("mail_released_at")?,
    })
}

/// The live identities of an organization, in the order of their ids.
pub(crate) async fn live_identities(
    connection: &mut PgConnection,
    organization_id: &str,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "select identity_id
         from name_claims
         where organization_id = $1 and handle_released_at is null
         order by identity_id",
    )
    .bind(organization_id)
    .fetch_all(connection)
    .await
}

/// How many names an event takes, and how many it gives up.
pub(crate) fn taken_and_given_up(event: &Event) -> (u64, u64) {
    match event {
        Event::Identity(IdentityEvent::Created { .. }) => (1, 0),
        Event::Identity(IdentityEvent::Renamed { .. }) => (1, 1),
        Event::Identity(IdentityEvent::Deleted { .. }) => (0, 1),
        _ => (0, 0),
    }
}
