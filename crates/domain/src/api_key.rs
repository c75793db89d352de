//! The `ApiKey` aggregate: a credential of an organization. An agent key is bound to one identity.
//!
//! A key has one secret, or two after a rotation: the previous one is valid until the overlap ends.

use std::time::Duration;

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::decider::Decider;
use crate::facts::{Facts, Needs};
use crate::moment::Moment;
use crate::upcasting::present_version;

/// How long after it was issued or rotated a key may expire: ten years.
pub const MAX_LIFETIME: Duration = Duration::from_hours(3653 * 24);

/// How long the previous secret of a key may be valid after a rotation: 30 days.
pub const MAX_OVERLAP: Duration = Duration::from_hours(30 * 24);

/// The state of a key, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiKey {
    /// No event yet.
    #[default]
    NotYet,
    /// It is valid until it expires, as long as its identity is live.
    Active(Secrets),
    /// It was revoked, and is never valid again.
    Revoked,
}

/// The secrets of a key that was not revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// SHA-256 of the present secret in lower-case hexadecimal.
    present: String,
    /// The same of the secret before the last rotation.
    previous: Option<String>,
    lifetime: Lifetime,
}

/// How long the secrets of a key are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lifetime {
    /// The first moment at which the key is not valid any more; `None` if it does not expire.
    pub expires_at: Option<Moment>,
    /// The first moment at which the previous secret is not valid any more; `None` if there is no previous secret.
    pub previous_valid_until: Option<Moment>,
}

/// Which of its two secrets a key is presented with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// The one that was made last.
    Present,
    /// The one before the last rotation.
    Previous,
}

impl Lifetime {
    /// How long a secret is still valid at this moment; `Duration::MAX` if it has no end, and `None` if it is not valid. No
    /// other function decides that.
    pub fn remaining(self, secret: Secret, now: Moment) -> Option<Duration> {
        let end = match secret {
            Secret::Present => self.expires_at,
            Secret::Previous => Some(self.previous_valid_until?),
        };
        let remaining = end.map_or(Some(Duration::MAX), |end| end.since(now));
        remaining.filter(|remaining| !remaining.is_zero())
    }
}

impl ApiKey {
    /// Whether the key is valid at this moment for somebody who presents the secret with this SHA-256.
    pub fn is_valid_for(&self, secret_sha256: &str, now: Moment) -> bool {
        let Self::Active(secrets) = self else { return false };
        let secret = if secrets.present == secret_sha256 {
            Secret::Present
        } else if secrets.previous.as_deref() == Some(secret_sha256) {
            Secret::Previous
        } else {
            return false;
        };
        secrets.lifetime.remaining(secret, now).is_some()
    }
}

/// A command to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Issue the key.
    Issue(Box<Issue>),
    /// Give the key a new secret.
    Rotate(Box<Rotate>),
    /// Revoke the key. Changes nothing if it was revoked before.
    Revoke,
}

/// The data of a new key. The secret itself is never part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// Its name.
    pub label: String,
    /// Free text.
    pub description: Option<String>,
    /// Its scope.
    pub scope: Scope,
    /// SHA-256 of the secret in lower-case hexadecimal. The secret has 256 random bits, so it cannot be found from
    /// the digest.
    pub secret_sha256: String,
    /// The last four characters of the secret, by which people recognize it.
    pub last4: String,
    /// The key that issued it, or `operator` for the command line.
    pub created_by: String,
    /// The first moment at which it is not valid any more; `None` if it does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Moment>,
}

/// A new secret for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotate {
    /// SHA-256 of the new secret, as in [`Issue`].
    pub secret_sha256: String,
    /// The last four characters of the new secret.
    pub last4: String,
    /// SHA-256 of the secret with which the key rotates itself; `None` if somebody else rotates it.
    pub by: Option<String>,
    /// How long the secret that was the present one until now stays valid.
    pub overlap: Duration,
    /// When the key expires from now on; `None` leaves that as it is.
    pub expires_at: Option<Moment>,
}

/// What a key may do. It never changes. Contract, section 0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Scope {
    /// May do everything in its organization.
    Admin,
    /// May do what one identity may do.
    Agent {
        /// The identity.
        identity_id: Uuid,
    },
    /// May read the history of its organization, and do nothing else.
    Auditor,
}

/// An event of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// It was issued.
    #[serde(rename = "api_key.issued")]
    Issued(Issue),
    /// It was given a new secret. The secret before the last one is not valid any more.
    #[serde(rename = "api_key.rotated")]
    Rotated {
        /// SHA-256 of the new secret.
        secret_sha256: String,
        /// The last four characters of the new secret.
        last4: String,
        /// When the key expires from now on; absent if it does not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Moment>,
        /// The first moment at which the secret that was the present one until now is not valid any more.
        previous_valid_until: Moment,
    },
    /// It was revoked.
    #[serde(rename = "api_key.revoked")]
    Revoked {},
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        present_version(self.name()).to_owned()
    }
}

impl Event {
    /// The wire name, the same as the `type` of the payload.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Issued(_) => "api_key.issued",
            Self::Rotated { .. } => "api_key.rotated",
            Self::Revoked {} => "api_key.revoked",
        }
    }
}

/// Why a key refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// The key does not exist.
    #[error("API key not found")]
    NotFound,
    /// A key with this id was issued before.
    #[error("API key already issued")]
    AlreadyIssued,
    /// The identity of an agent key is not a live identity of the organization.
    #[error("identity not found")]
    IdentityNotFound,
    /// The key was revoked or has expired, so it cannot be rotated.
    #[error("API key revoked or expired")]
    Ended,
    /// The key would expire at once, or was meant to expire in the past.
    #[error("a key must expire in the future")]
    ExpiryNotAhead,
    /// The key would expire more than ten years from now.
    #[error("a key must expire within ten years")]
    ExpiryTooFar,
    /// The overlap of a rotation is longer than 30 days.
    #[error("the previous secret of a key is valid for at most 30 days")]
    OverlapTooLong,
    /// The key would rotate itself with a secret that is not its present one. Somebody who had stolen it could lock the owner out.
    #[error("a key cannot be rotated with its previous secret")]
    NotThePresentSecret,
}

impl Decider for ApiKey {
    fn needs(command: &Command) -> Needs {
        let identity = match command {
            Command::Issue(issue) => match issue.scope {
                Scope::Agent { identity_id } => Some(identity_id),
                Scope::Admin | Scope::Auditor => None,
            },
            Command::Rotate(_) | Command::Revoke => None,
        };
        Needs { identity, ..Needs::default() }
    }

    fn begins(command: &Command) -> bool {
        matches!(command, Command::Issue(_))
    }

    fn decide(&self, command: &Command, facts: &Facts) -> Result<Vec<Event>, ApiKeyError> {
        match (self, command) {
            (Self::NotYet, Command::Issue(issue)) => issued(issue, facts),
            (Self::Active(_) | Self::Revoked, Command::Issue(_)) => Err(ApiKeyError::AlreadyIssued),
            (Self::NotYet, Command::Rotate(_) | Command::Revoke) => Err(ApiKeyError::NotFound),
            (Self::Active(secrets), Command::Rotate(rotate)) => rotated(secrets, rotate, facts),
            (Self::Revoked, Command::Rotate(_)) => Err(ApiKeyError::Ended),
            (Self::Active(_), Command::Revoke) => Ok(vec![Event::Revoked {}]),
            (Self::Revoked, Command::Revoke) => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        *self = match event {
            Event::Issued(issue) => Self::Active(Secrets {
                present: issue.secret_sha256.clone(),
                previous: None,
                lifetime: Lifetime { expires_at: issue.expires_at, previous_valid_until: None },
            }),
            Event::Rotated { secret_sha256, last4: _, expires_at, previous_valid_until } => {
                // Only an active key is rotated. Any other stays as it is.
                let Self::Active(Secrets { present, .. }) = self else { return };
                let present = std::mem::take(present);
                Self::Active(Secrets {
                    present: secret_sha256.clone(),
                    previous: Some(present),
                    lifetime: Lifetime {
                        expires_at: *expires_at,
                        previous_valid_until: Some(*previous_valid_until),
                    },
                })
            }
            Event::Revoked {} => Self::Revoked,
        };
    }
}

fn issued(issue: &Issue, facts: &Facts) -> Result<Vec<Event>, ApiKeyError> {
    if matches!(issue.scope, Scope::Agent { .. }) && !facts.identity_is_live {
        return Err(ApiKeyError::IdentityNotFound);
    }
    check_expiry(issue.expires_at, facts.now)?;
    Ok(vec![Event::Issued(issue.clone())])
}

/// The previous secret outlives neither the key as it was nor the key as it is from now on.
fn rotated(secrets: &Secrets, rotate: &Rotate, facts: &Facts) -> Result<Vec<Event>, ApiKeyError> {
    let Rotate { secret_sha256, last4, by, overlap, expires_at } = rotate;
    let before = secrets.lifetime;
    if before.remaining(Secret::Present, facts.now).is_none() {
        return Err(ApiKeyError::Ended);
    }
    if by.as_ref().is_some_and(|by| *by != secrets.present) {
        return Err(ApiKeyError::NotThePresentSecret);
    }
    check_expiry(*expires_at, facts.now)?;
    if *overlap > MAX_OVERLAP {
        return Err(ApiKeyError::OverlapTooLong);
    }
    let expires_at = expires_at.or(before.expires_at);
    let ends = [before.expires_at, expires_at].into_iter().flatten();
    let event = Event::Rotated {
        secret_sha256: secret_sha256.clone(),
        last4: last4.clone(),
        expires_at,
        previous_valid_until: ends.fold(facts.now.plus(*overlap), Moment::min),
    };
    Ok(vec![event])
}

fn check_expiry(expires_at: Option<Moment>, now: Moment) -> Result<(), ApiKeyError> {
    match expires_at {
        Some(expires_at) if expires_at <= now => Err(ApiKeyError::ExpiryNotAhead),
        Some(expires_at) if expires_at > now.plus(MAX_LIFETIME) => Err(ApiKeyError::ExpiryTooFar),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
