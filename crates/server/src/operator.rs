//! The work of operators: organizations, keys, identities, webhook subscriptions. Called by the command line.

pub mod identities;
pub mod webhooks;

use std::time::Duration;

use anyhow::{Context as _, bail};
use identity_domain::api_key::{Command as KeyCommand, Issue, Rotate, Scope};
use identity_domain::{Command, Moment, organization};
use identity_http::api_key::{Secret, parse_public_id, public_id};
use identity_log::{Actor, Append, Fate, Log, Metadata, Settings, ShownAccess, connect_options, ids};
use identity_projections::api_keys::{self, KeyScope};
use identity_projections::organizations;
use secrecy::SecretString;
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::signing::SigningSettings;

/// The longest label of a key and name of an organization, in characters.
const MAX_NAME_CHARACTERS: usize = 255;

/// Acts on a migrated database with all rights.
#[derive(Debug, Clone)]
pub struct Operator {
    pool: PgPool,
    signing: SigningSettings,
}

/// An organization that was just made.
#[derive(Debug)]
pub struct NewOrganization {
    /// Its id, opaque to clients.
    pub organization_id: String,
    /// Its first admin key, which cannot be shown again.
    pub api_key: SecretString,
}

/// An organization as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its id, opaque to clients.
    pub id: String,
    /// What its operator calls it.
    pub name: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

/// The scope of a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// Everything in its organization.
    Admin,
    /// What one identity may do, given by its handle.
    Agent(&'a str),
    /// Reading the history of its organization.
    Auditor,
}

/// A key that was just issued.
#[derive(Debug)]
pub struct NewKey {
    /// Its public part, `ApiKey_<uuid>`.
    pub key_id: String,
    /// The whole of it, which cannot be shown again.
    pub api_key: SecretString,
}

/// A key that was just rotated.
#[derive(Debug)]
pub struct RotatedKey {
    /// The key with its new secret.
    pub key: NewKey,
    /// Until when the secret that it had is valid.
    pub previous_valid_until: Option<OffsetDateTime>,
}

/// A key as listed; its secret is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its public part, `ApiKey_<uuid>`.
    pub id: String,
    /// What its issuer calls it.
    pub label: String,
    /// What it may do.
    pub scope: KeyScope,
    /// Handle of the one identity it acts for; none for the keys of admins and auditors.
    pub identity: Option<String>,
    /// The last four characters of its secret.
    pub last4: String,
    /// When it was issued.
    pub created_at: OffsetDateTime,
    /// When it was revoked; none if it was not.
    pub revoked_at: Option<OffsetDateTime>,
    /// When it expires; none if it does not.
    pub expires_at: Option<OffsetDateTime>,
    /// Until when the secret that it had before its last rotation is valid.
    pub previous_valid_until: Option<OffsetDateTime>,
    /// When it was last used.
    pub last_used_at: Option<OffsetDateTime>,
}

impl Operator {
    /// An operator of this database, whose history is sealed with the key of these settings.
    pub fn new(pool: PgPool, signing: SigningSettings) -> Self {
        Self { pool, signing }
    }

    /// Makes an organization of this name and its first admin key.
    pub async fn create_organization(&self, name: &str) -> anyhow::Result<NewOrganization> {
        check_name("the name of an organization", name)?;
        let organization_id = ids::mint_organization();
        let command = organization::Command::Create { name: name.to_owned() };
        let creation = append(&organization_id, &organization_id, Command::Organization(command));
        let (key, issue) = issue(&organization_id, "admin", Scope::Admin, None)?;
        self.appending(async |log| {
            log.append(creation).await?;
            log.append(issue).await.with_context(|| {
                format!(
                    "organization {organization_id} is there, but has no key yet; issue one with `identityd key issue`"
                )
            })
        })
        .await?;
        Ok(NewOrganization { organization_id, api_key: key.api_key })
    }

    /// All organizations, the oldest first.
    pub async fn list_organizations(&self) -> anyhow::Result<Vec<Organization>> {
        let rows = organizations::list(&self.pool).await.context("cannot list organizations")?;
        let listed =
            |row: organizations::Row| Organization { id: row.id, name: row.name, created_at: row.created_at };
        Ok(rows.into_iter().map(listed).collect())
    }

    /// Issues a key of an organization, given by its id or name, which does not expire.
    pub async fn issue_key(
        &self,
        organization: &str,
        label: &str,
        purpose: Purpose<'_>,
    ) -> anyhow::Result<NewKey> {
        self.issue_key_until(organization, label, purpose, None).await
    }

    /// Issues a key of an organization, given by its id or name, which expires if a moment is given.
    pub async fn issue_key_until(
        &self,
        organization: &str,
        label: &str,
        purpose: Purpose<'_>,
        expires_at: Option<Moment>,
    ) -> anyhow::Result<NewKey> {
        check_name("the label of a key", label)?;
        let organization_id = self.find_organization(organization).await?;
        let scope = match purpose {
            Purpose::Admin => Scope::Admin,
            Purpose::Agent(handle) => {
                Scope::Agent { identity_id: self.find_identity(&organization_id, handle).await?.id }
            }
            Purpose::Auditor => Scope::Auditor,
        };
        let (key, issue) = issue(&organization_id, label, scope, expires_at)?;
        self.appending(async |log| Ok(log.append(issue).await?)).await?;
        Ok(key)
    }

    /// All keys of an organization, given by its id or name, the oldest first.
    pub async fn list_keys(&self, organization: &str) -> anyhow::Result<Vec<Key>> {
        let organization_id = self.find_organization(organization).await?;
        let mut keys =
            api_keys::list(&self.pool, &organization_id, None, i64::MAX).await.context("cannot list keys")?;
        keys.reverse();
        Ok(keys.into_iter().map(Key::from).collect())
    }

    /// Gives a key, named by its public part, a new secret. The one that it had is valid until the overlap ends.
    pub async fn rotate_key(
        &self,
        key_id: &str,
        overlap: Duration,
        expires_at: Option<Moment>,
    ) -> anyhow::Result<RotatedKey> {
        let key = self.find_key(key_id).await?;
        let active = api_keys::find_active(&self.pool, &[key.id]).await.context("cannot look the key up")?;
        if active.is_empty() {
            bail!("the key {key_id} was revoked, or its identity is deleted; issue another");
        }
        let secret = Secret::generate()?;
        let (secret_sha256, last4) = (secret.sha256(), secret.last4());
        let rotate = Rotate { secret_sha256, last4, by: None, overlap, expires_at };
        let command = Command::ApiKey(KeyCommand::Rotate(Box::new(rotate)));
        let rotation = append(&key.organization_id, &key.id.to_string(), command);
        let committed = self.appending(async |log| Ok(log.append(rotation).await?)).await?;
        let row = committed.made.get::<api_keys::Row>();
        Ok(RotatedKey {
            key: NewKey { key_id: key_id.to_owned(), api_key: secret.key_text(key.id).into() },
            previous_valid_until: row.and_then(|row| row.previous_valid_until),
        })
    }

    /// Revokes a key, given by its public part. A key that is revoked already stays as it is.
    pub async fn revoke_key(&self, key_id: &str) -> anyhow::Result<()> {
        let key = self.find_key(key_id).await?;
        let command = Command::ApiKey(KeyCommand::Revoke);
        let revocation = append(&key.organization_id, &key.id.to_string(), command);
        self.appending(async |log| Ok(log.append(revocation).await?)).await?;
        Ok(())
    }

    async fn find_key(&self, key_id: &str) -> anyhow::Result<api_keys::Row> {
        let id = parse_public_id(key_id).with_context(|| format!("{key_id} is not the id of a key"))?;
        let key = api_keys::find(&self.pool, id).await.context("cannot look the key up")?;
        key.with_context(|| format!("there is no key {key_id}"))
    }

    /// The id of an organization that is given by its id or name.
    pub async fn find_organization(&self, id_or_name: &str) -> anyhow::Result<String> {
        let organizations = self.list_organizations().await?;
        let mut matching =
            organizations.iter().filter(|known| known.id == id_or_name || known.name == id_or_name);
        match (matching.next(), matching.next()) {
            (Some(one), None) => Ok(one.id.clone()),
            (None, _) => bail!("there is no organization {id_or_name}"),
            (Some(_), Some(_)) => bail!("more than one organization is called {id_or_name}; give its id"),
        }
    }

    /// Appends through a committer that lives for this one command. Beside a running service the two wait for each
    /// other at the head of the log.
    async fn appending<T>(&self, work: impl AsyncFnOnce(Log) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let seal_key = self.signing.seal_key(&self.pool).await?;
        let settings = Settings::new(Duration::MAX, seal_key);
        let (log, committer) = Log::open(connect_options(&self.pool), identity_projections::all(), settings);
        // `work` drops the log at its end, which ends the committer.
        let (answer, ()) = tokio::join!(work(log), Box::pin(committer.run()));
        answer
    }
}

/// A command of an operator, for the log.
fn append(organization_id: &str, aggregate_id: &str, command: Command) -> Append {
    Append {
        organization_id: organization_id.to_owned(),
        aggregate_id: aggregate_id.to_owned(),
        command,
        actor: Actor::Operator,
        secret_sha256: String::new(),
        metadata: Metadata::new(&Actor::Operator, &ids::mint().to_string()),
        expected_version: None,
        repeatable: None,
        shown_access: ShownAccess::None,
        ciphertexts: vec![],
        companion: None,
        is_bulk: false,
        fate: Fate::default(),
    }
}

/// A new key, and the command that issues it.
fn issue(
    organization_id: &str,
    label: &str,
    scope: Scope,
    expires_at: Option<Moment>,
) -> anyhow::Result<(NewKey, Append)> {
    let secret = Secret::generate()?;
    let id = ids::mint_random();
    let issue = Issue {
        label: label.to_owned(),
        description: None,
        scope,
        secret_sha256: secret.sha256(),
        last4: secret.last4(),
        created_by: Actor::Operator.id(),
        expires_at,
    };
    let command = Command::ApiKey(KeyCommand::Issue(Box::new(issue)));
    let key = NewKey { key_id: public_id(id), api_key: secret.key_text(id).into() };
    Ok((key, append(organization_id, &id.to_string(), command)))
}

fn check_name(what: &str, name: &str) -> anyhow::Result<()> {
    let length = name.chars().count();
    if (1..=MAX_NAME_CHARACTERS).contains(&length) && !name.contains('\0') {
        Ok(())
    } else {
        bail!("{what} has 1 to {MAX_NAME_CHARACTERS} characters and no NUL")
    }
}

impl From<api_keys::ListedKey> for Key {
    fn from(listed: api_keys::ListedKey) -> Self {
        let api_keys::ListedKey { row, identity_handle, last_used_at } = listed;
        Self {
            id: public_id(row.id),
            label: row.label,
            scope: row.scope,
            identity: identity_handle.or_else(|| row.identity_id.map(|id| id.to_string())),
            last4: row.last4,
            created_at: row.created_at,
            revoked_at: row.revoked_at,
            expires_at: row.expires_at,
            previous_valid_until: row.previous_valid_until,
            last_used_at,
        }
    }
}
