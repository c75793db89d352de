//! Signs a payload and sends it once: for the queue, for replays, and for log endpoints.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use identity_log::signing_keys::SecretsKey;
use secrecy::ExposeSecret as _;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::address::counted_for;
use crate::attempt::{Attempt, Sender};
use crate::credentials::{Credentials, CredentialsError};
use crate::deliveries::limits::Recorded;
use crate::metrics::Metrics;
use crate::queue::claims::Claim;
use crate::schedule::Schedule;
use crate::signature::Signed;

/// How much longer than an attempt a lease is. What became of the attempt is written in this time.
const LEASE_MARGIN: Duration = Duration::from_secs(20);

/// How long a delivery waits that this service could not send.
pub(crate) const UNSENT_DELAY: Duration = Duration::from_secs(30);

/// What a delivery needs.
#[derive(Debug, Clone)]
pub(crate) struct Delivering {
    pub(crate) pool: PgPool,
    pub(crate) sender: Sender,
    pub(crate) secrets_key: SecretsKey,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) metrics: Metrics,
    pub(crate) timeout: Duration,
    pub(crate) recorded: Recorded,
}

/// Why the receiver was not asked: this service could not do its part. It is no failure of the receiver.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsent {
    /// Too many names are being resolved.
    #[error("the name of the host waits to be resolved")]
    Busy,
    /// It cannot be signed, or its token cannot be opened.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Something is no value of a header.
    #[error("this is no value of a header")]
    Value(#[from] hyper::header::InvalidHeaderValue),
}

impl Delivering {
    /// How long a claim lasts.
    pub(crate) fn lease(&self) -> Duration {
        self.timeout + LEASE_MARGIN
    }

    pub(crate) async fn attempt(&self, claim: &Claim, id: Uuid) -> Result<Attempt, Unsent> {
        let credentials = claim.sealed.open(&self.secrets_key, claim.identity_id, claim.endpoint_id)?;
        let target = Target { url: &claim.url, organization_id: &claim.organization_id, credentials };
        self.send(target, id, &claim.event_id, &claim.payload, claim.now).await
    }

    /// Signs a payload and sends it.
    pub(crate) async fn send(
        &self,
        target: Target<'_>,
        id: Uuid,
        event_id: &str,
        payload: &str,
        moment: OffsetDateTime,
    ) -> Result<Attempt, Unsent> {
        let body = Bytes::copy_from_slice(payload.as_bytes());
        let signed = Signed { request_id: &id.to_string(), event_id, moment, body: &body };
        let Target { url, organization_id, credentials } = target;
        let headers = headers(&credentials, &signed)?;
        // Keys are not kept for as long as the receiver is waited for.
        drop(credentials);
        let attempt = counted_for(organization_id, self.sender.send(url, headers, body)).await;
        if attempt.is_postponed { Err(Unsent::Busy) } else { Ok(attempt) }
    }
}

fn headers(credentials: &Credentials, signed: &Signed<'_>) -> Result<HeaderMap, Unsent> {
    let mut headers = signed.headers(&credentials.key)?;
    if let Some(token) = &credentials.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// Where a delivery goes.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) url: &'a str,
    pub(crate) organization_id: &'a str,
    pub(crate) credentials: Credentials,
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use async_trait::async_trait;
    use identity_log::signing_keys::{SecretsKey, SigningKey};
    use secrecy::ExposeSecret as _;
    use sqlx::postgres::PgPoolOptions;
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::{Delivering, Target, Unsent};
    use crate::address::{Policy, Resolver, SystemResolver, Turn, counted_for};
    use crate::attempt::{Attempt, Sender};
    use crate::credentials::Credentials;
    use crate::deliveries::limits::{LogLimits, Recorded};
    use crate::metrics::Metrics;
    use crate::schedule::Schedule;

    /// Gives turns as the resolver of the system does. No name has an address.
    #[derive(Debug)]
    struct Nameless(SystemResolver);

    #[async_trait]
    impl Resolver for Nameless {
        async fn turn(&self) -> Option<Turn> {
            self.0.turn().await
        }

        async fn addresses(&self, _: &str, _: Turn) -> io::Result<Vec<IpAddr>> {
            Ok(vec![])
        }
    }

    /// Nothing is asked of its database.
    fn delivering(resolver: Arc<dyn Resolver>) -> Delivering {
        let timeout = Duration::from_secs(30);
        Delivering {
            pool: PgPoolOptions::new().connect_lazy("postgres://nowhere.example/none").unwrap(),
            sender: Sender::new(Policy::default(), resolver, timeout, &[]).unwrap(),
            secrets_key: SecretsKey::parse(SecretsKey::generate().unwrap().expose_secret()).unwrap(),
            schedule: Arc::new(Schedule::default()),
            metrics: Metrics::default(),
            timeout,
            recorded: Recorded::new(LogLimits::default()),
        }
    }

    async fn send(delivering: &Delivering, organization_id: &str) -> Result<Attempt, Unsent> {
        let credentials = Credentials { key: SigningKey::generate().unwrap(), token: None };
        let target = Target { url: "https://some.example/in", organization_id, credentials };
        delivering.send(target, Uuid::nil(), "evt_1", "{}", OffsetDateTime::UNIX_EPOCH).await
    }

    #[tokio::test]
    async fn an_organization_whose_names_wait_is_not_sent_to_and_others_are() {
        let resolver = Arc::new(Nameless(SystemResolver::with_max_wait(Duration::from_millis(1))));
        let mut turns = vec![];
        while let Some(turn) = counted_for("acme", resolver.turn()).await {
            turns.push(turn);
        }
        let delivering = delivering(resolver);
        assert!(matches!(send(&delivering, "acme").await, Err(Unsent::Busy)));
        let error = send(&delivering, "other").await.unwrap().error.unwrap();
        assert!(error.ends_with("some.example has no address"), "{error}");
        turns.clear();
        assert!(send(&delivering, "acme").await.is_ok());
    }
}
