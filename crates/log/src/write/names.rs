//! Claims: which identity has which name. Claims follow from events, and are checked before an identity gets a name.
//!
//! At most one identity has a name at a time: as its handle, which is also the name of its tunnel, as the local part of
//! its mail address, or as both.

use std::collections::HashMap;

use identity_domain::identity::{Event as IdentityEvent, Live};
use identity_domain::{Event, Namespace};
use sqlx::{PgConnection, Row};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::event::recorded::Recorded;

/// A name with its present holder, or with its last holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NameClaim {
    pub(super) name: String,
    pub(super) organization_id: String,
    pub(super) identity_id: Uuid,
    /// When the holder gave it up as its handle.
    pub(super) handle_released_at: Option<OffsetDateTime>,
    /// When the holder gave it up as its mail address. If the holder never had it as one: when it was claimed.
    pub(super) mail_released_at: Option<OffsetDateTime>,
}

impl NameClaim {
    /// When the holder gave it up altogether, as its handle and as its mail address; `None` if it is in use.
    fn given_up_at(&self) -> Option<OffsetDateTime> {
        Some(self.handle_released_at?.max(self.mail_released_at?))
    }
}

/// The claims on the names that the commands of a batch mention.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<String, CachedClaim>);

#[derive(Debug)]
struct CachedClaim {
    claim: NameClaim,
    /// Whether the table has a row of this name.
    is_stored: bool,
    is_changed: bool,
    /// How many names its last holder gave up later than this one, not counting names whose claims are loaded.
    given_up_later: i64,
}

/// How long a name is held back for the identity that gave it up, and how many names at most for one identity; 0 is no
/// limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) hold: Duration,
    pub(super) most: u32,
}

/// A claim that the events of a batch have changed.
#[derive(Debug)]
pub(super) struct ChangedClaim {
    pub(super) claim: NameClaim,
    /// Whether the table has a row of this name already.
    pub(super) is_stored: bool,
}

impl Claims {
    /// Loads the claims on those of `names` that are not loaded yet.
    pub(super) async fn load(
        &mut self,
        connection: &mut PgConnection,
        names: impl Iterator<Item = String>,
    ) -> Result<(), sqlx::Error> {
        let unknown: Vec<String> = names.filter(|name| !self.0.contains_key(name)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let loaded: Vec<&str> = self.0.keys().chain(&unknown).map(String::as_str).collect();
        for (claim, given_up_later) in find(connection, &unknown, &loaded).await? {
            let cached = CachedClaim { claim, is_stored: true, is_changed: false, given_up_later };
            self.0.insert(cached.claim.name.clone(), cached);
        }
        Ok(())
    }

    /// The first namespace in which another identity has the name, or gave it up less than `hold` ago. Of the names that
    /// an identity gave up, only the last `most` are held back.
    pub(super) fn blocker(
        &self,
        name: &str,
        claimant: &str,
        Held { hold, most }: Held,
        now: OffsetDateTime,
    ) -> Option<Namespace> {
        let cached = self.0.get(name)?;
        let NameClaim { identity_id, handle_released_at, mail_released_at, .. } = &cached.claim;
        let is_crowded_out = most > 0 && self.given_up_later(cached) >= i64::from(most);
        let is_held = |released_at: &Option<OffsetDateTime>| {
            let Some(released) = released_at else { return true };
            !is_crowded_out && released.checked_add(hold).is_none_or(|moment| moment > now)
        };
        if identity_id.to_string() == claimant {
            None
        } else if is_held(handle_released_at) {
            Some(Namespace::Identities)
        } else {
            is_held(mail_released_at).then_some(Namespace::Mail)
        }
    }

    /// How many names the last holder of a name gave up later than this one.
    fn given_up_later(&self, cached: &CachedClaim) -> i64 {
        let claim = &cached.claim;
        let Some(given_up_at) = claim.given_up_at() else { return 0 };
        let loaded = self.0.values().map(|other| &other.claim).filter(|other| {
            other.identity_id == claim.identity_id && other.given_up_at() > Some(given_up_at)
        });
        cached.given_up_later.saturating_add(i64::try_from(loaded.count()).unwrap_or(i64::MAX))
    }

    /// Applies an event to the claims.
    pub(super) fn apply(&mut self, recorded: &Recorded) {
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

    /// Changes the claim of the event's identity on a name. It replaces the claim that another identity gave up.
    fn change(&mut self, recorded: &Recorded, name: &str, change: impl FnOnce(&mut NameClaim)) {
        let Ok(identity_id) = recorded.aggregate_id.parse() else {
            return;
        };
        let fresh = || NameClaim {
            name: name.to_owned(),
            organization_id: recorded.organization_id.clone(),
            identity_id,
            handle_released_at: Some(recorded.recorded_at),
            mail_released_at: Some(recorded.recorded_at),
        };
        let cached = self.0.entry(name.to_owned());
        let cached = cached.or_insert_with(|| CachedClaim {
            claim: fresh(),
            is_stored: false,
            is_changed: true,
            given_up_later: 0,
        });
        if cached.claim.identity_id != identity_id {
            cached.claim = fresh();
        }
        // If the event gives the name up, its holder has given up no name later.
        (cached.is_changed, cached.given_up_later) = (true, 0);
        change(&mut cached.claim);
    }

    /// The claims that events have changed, sorted by name like the index; and the claims to keep for the next batch.
    /// The same claims are kept: this batch may not be committed when the next one loads its claims. The others are
    /// loaded again.
    pub(super) fn into_changes(mut self) -> (Vec<ChangedClaim>, Self) {
        self.0.retain(|_, cached| cached.is_changed);
        let change = |CachedClaim { claim, is_stored, .. }: &CachedClaim| ChangedClaim {
            claim: claim.clone(),
            is_stored: *is_stored,
        };
        let mut changes: Vec<ChangedClaim> = self.0.values().map(change).collect();
        changes.sort_unstable_by(|one, other| one.claim.name.cmp(&other.claim.name));
        for cached in self.0.values_mut() {
            (cached.is_stored, cached.is_changed) = (true, false);
        }
        (changes, self)
    }
}

/// The names of a live identity: its handle and the local part of its mail address.
pub(super) fn names_of(live: &Live) -> [&str; 2] {
    [live.handle.as_str(), local_part(&live.email_address)]
}

fn local_part(email_address: &str) -> &str {
    email_address.split_once('@').map_or(email_address, |(local, _)| local)
}

/// The claims on these names, each with the number of names that its last holder gave up later. Names in `loaded` are not
/// counted.
async fn find(
    connection: &mut PgConnection,
    names: &[String],
    loaded: &[&str],
) -> Result<Vec<(NameClaim, i64)>, sqlx::Error> {
    let rows = sqlx::query(
        "select claim.*,
                (select count(*)
                 from name_claims as other
                 where claim.handle_released_at is not null
                   and claim.mail_released_at is not null
                   and other.identity_id = claim.identity_id
                   and other.handle_released_at is not null
                   and other.mail_released_at is not null
                   and greatest(other.handle_released_at, other.mail_released_at)
                       > greatest(claim.handle_released_at, claim.mail_released_at)
                   and other.name <> all($2)) as given_up_later
         from unnest($1::text[]) as wanted
         cross join lateral (
             select name, organization_id, identity_id, handle_released_at, mail_released_at
             from name_claims
             where name = wanted
             offset 0
         ) as claim",
    )
    .bind(names)
    .bind(loaded)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((claim(row)?, row.try_get("given_up_later")?))).collect()
}

fn claim(row: &sqlx::postgres::PgRow) -> Result<NameClaim, sqlx::Error> {
    Ok(NameClaim {
        name: row.try_get("name")?,
        organization_id: row.try_get("organization_id")?,
        identity_id: row.try_get("identity_id")?,
        handle_released_at: row.try_get("handle_released_at")?,
        mail_released_at: row.try_get("mail_released_at")?,
    })
}

/// The live identities of an organization, by id.
pub(super) async fn live_identities(
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

/// How many names an event claims, and how many it gives up.
pub(super) fn claimed_and_given_up(event: &Event) -> (u64, u64) {
    match event {
        Event::Identity(IdentityEvent::Created { .. }) => (1, 0),
        Event::Identity(IdentityEvent::Renamed { .. }) => (1, 1),
        Event::Identity(IdentityEvent::Deleted { .. }) => (0, 1),
        _ => (0, 0),
    }
}
