//! Log endpoints: the history of an organization, sent to an address event by event and in order. One event is on its way at a
//! time; the next one is sent when it was delivered. The cursor of an endpoint is the `organization_sequence` of the last event
//! that was.

mod claims;
mod history;
pub(crate) mod worker;

use identity_log::ciphertexts::CiphertextChange;
use identity_log::ids;
use identity_log::signing_keys::{SecretsKey, SigningKey, SigningKeyError};
use sqlx::{FromRow, PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

/// How many log endpoints an organization may have.
pub const MAX_LOG_ENDPOINTS: i64 = 16;

/// A log endpoint.
#[derive(Debug, Clone, FromRow)]
pub struct LogEndpoint {
    /// Its id.
    pub id: Uuid,
    /// Whose history it gets.
    pub organization_id: String,
    /// Where it is.
    pub url: String,
    /// The types of events that it gets, as the history names them; all if there are none.
    pub event_types: Option<Vec<String>>,
    /// The `organization_sequence` of the last event that was delivered.
    pub sequence: i64,
    /// Why nothing is sent to it, if that is so.
    pub disabled_reason: Option<String>,
    /// When the first of the failures was that it has had since the last success.
    pub failing_since: Option<OffsetDateTime>,
    /// When something was sent to it last.
    pub last_attempt_at: Option<OffsetDateTime>,
    /// What it answered then.
    pub last_status: Option<i16>,
    /// Why it did not answer then.
    pub last_error: Option<String>,
    /// Who created it: a key.
    pub created_by: String,
    /// When it was created.
    pub created_at: OffsetDateTime,
}

/// The columns of a [`LogEndpoint`].
const COLUMNS: &str = "id, organization_id, url, event_types, sequence, disabled_reason, failing_since, last_attempt_at, \
                       last_status, last_error, created_by, created_at";

/// The data of a new log endpoint.
#[derive(Debug, Clone)]
pub struct NewLogEndpoint {
    /// Where it is.
    pub url: String,
    /// The types of events that it gets; all if there are none.
    pub event_types: Option<Vec<String>>,
    /// It gets the events after this `organization_sequence`; those to come if absent.
    pub after: Option<i64>,
}

/// Creates a log endpoint with a signing key of its own, in a transaction. `None` if the organization has as many as it may have:
/// creations in one organization wait for each other, so that no two count the same.
pub async fn create(
    connection: &mut PgConnection,
    secrets_key: &SecretsKey,
    organization_id: &str,
    created_by: &str,
    new: &NewLogEndpoint,
) -> Result<Option<(LogEndpoint, SigningKey)>, SigningKeyError> {
    let (id, key) = (ids::mint(), SigningKey::generate()?);
    let sealed = match secrets_key.seal(id, &key)? {
        CiphertextChange::Put { ciphertext, .. } => ciphertext,
        CiphertextChange::Delete { .. } => return Err(SigningKeyError::Unsealable),
    };
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('identityd log endpoints ' || $1, 0))")
        .bind(organization_id)
        .execute(&mut *connection)
        .await?;
    let created: Option<LogEndpoint> = sqlx::query_as(&format!(
        "insert into webhook_log_endpoints (id, organization_id, url, event_types, signing_key, sequence, created_by)
         select $1, $2, $3, $4, $5,
                coalesce($6, (select sequence from organization_heads where organization_id = $2), 0), $7
         where (select count(*) from webhook_log_endpoints where organization_id = $2) < $8
         returning {COLUMNS}"
    ))
    .bind(id)
    .bind(organization_id)
    .bind(&new.url)
    .bind(&new.event_types)
    .bind(sealed)
    .bind(new.after)
    .bind(created_by)
    .bind(MAX_LOG_ENDPOINTS)
    .fetch_optional(connection)
    .await?;
    Ok(created.map(|created| (created, key)))
}

/// The log endpoints of an organization, oldest first.
pub async fn list(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
) -> Result<Vec<LogEndpoint>, sqlx::Error> {
    sqlx::query_as(&format!(
        "select {COLUMNS} from webhook_log_endpoints where organization_id = $1 order by created_at, id"
    ))
    .bind(organization_id)
    .fetch_all(executor)
    .await
}

/// Deletes a log endpoint. Returns whether there was one.
pub async fn delete(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    id: Uuid,
) -> Result<bool, sqlx::Error> {
    let deleted = sqlx::query("delete from webhook_log_endpoints where organization_id = $1 and id = $2")
        .bind(organization_id)
        .bind(id)
        .execute(executor)
        .await?;
    Ok(deleted.rows_affected() > 0)
}

/// Sends the events after this `organization_sequence` again, at once, also to an endpoint that was disabled. An event that is on
/// its way is given up: what becomes of it moves no cursor, since its lease is gone.
pub async fn replay(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    id: Uuid,
    after: i64,
) -> Result<Option<LogEndpoint>, sqlx::Error> {
    sqlx::query_as(&format!(
        "update webhook_log_endpoints
         set sequence = $3, disabled_reason = null, attempts = 0, failing_since = null, due_at = now(), lease_until = null
         where organization_id = $1 and id = $2
         returning {COLUMNS}"
    ))
    .bind(organization_id)
    .bind(id)
    .bind(after)
    .fetch_optional(executor)
    .await
}

/// The log endpoint with this id, of whichever organization. For the operator.
pub async fn find(executor: impl PgExecutor<'_>, id: Uuid) -> Result<Option<LogEndpoint>, sqlx::Error> {
    sqlx::query_as(&format!("select {COLUMNS} from webhook_log_endpoints where id = $1"))
        .bind(id)
        .fetch_optional(executor)
        .await
}

/// Sends nothing to a log endpoint until a client asks for a replay. One that is disabled already stays as it is. An event that
/// is on its way is given up: what becomes of it moves no cursor, since its lease is gone.
pub async fn disable(executor: impl PgExecutor<'_>, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update webhook_log_endpoints set disabled_reason = 'operator', lease_until = null
         where id = $1 and disabled_reason is null",
    )
    .bind(id)
    .execute(executor)
    .await?;
    Ok(())
}

/// Makes the event due at once that waits for another attempt at a log endpoint. Returns how many events.
pub async fn retry(executor: impl PgExecutor<'_>, id: Uuid) -> Result<u64, sqlx::Error> {
    let retried = sqlx::query(
        "update webhook_log_endpoints set due_at = now()
         where id = $1 and due_at > now() and lease_until is null and disabled_reason is null",
    )
    .bind(id)
    .execute(executor)
    .await?;
    Ok(retried.rows_affected())
}

/// All sealed signing keys, each with its endpoint. For the doctor.
pub async fn all_sealed(executor: impl PgExecutor<'_>) -> Result<Vec<(Uuid, Vec<u8>)>, sqlx::Error> {
    sqlx::query_as("select id, signing_key from webhook_log_endpoints order by id").fetch_all(executor).await
}

/// Whether there is a log endpoint of any organization.
pub async fn is_any_there(executor: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from webhook_log_endpoints)").fetch_one(executor).await
}
