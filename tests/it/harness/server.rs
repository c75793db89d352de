//! The service, run in the test process on a free port of 127.0.0.1.

use std::time::Duration;

use identityd::secrets_key::SecretsSettings;
use identityd::settings::{
    PostgresLayer, PostgresSettings, QuotaLayer, QuotaSettings, WebhookLayer, WireLayer, WireSettings,
};
use identityd::signing::SigningSettings;
use identityd::witnesses::Witness;
use identityd::{HEARTBEAT, Service, ServiceSettings};

use super::wait;

/// How many connections read for clients. Few, since opening a connection takes longer than all queries of most tests.
const CONNECTIONS: u32 = 4;

/// A running service. Dropping it stops it gracefully.
#[derive(Debug)]
pub(crate) struct Server {
    service: Option<Service>,
    base_url: String,
    metrics_url: String,
}

impl Server {
    /// Starts the service over a database, and waits until it answers.
    pub(crate) fn start(database_url: &str, signing: SigningSettings, name_hold: Duration) -> Self {
        let server = Self::begin(database_url, signing, name_hold);
        server.becomes_ready();
        server
    }

    /// Starts the service as one role, after another one has migrated and has granted it what it needs.
    pub(crate) fn of_two_roles(database_url: &str, owner_url: &str, signing: SigningSettings) -> Self {
        let owner_url = Some(owner_url.into());
        let server =
            Self::with(ServiceSettings { owner_url, ..settings(database_url, signing, Duration::ZERO) });
        server.becomes_ready();
        server
    }

    /// Starts the service with other wire settings (TLS, proxies, limits).
    pub(crate) fn with_wire(database_url: &str, signing: SigningSettings, wire: WireLayer) -> Self {
        let wire = WireSettings::resolve(wire).expect("the settings are sane");
        let settings = ServiceSettings { wire, ..settings(database_url, signing, Duration::ZERO) };
        let server = Self::with(settings);
        server.becomes_ready();
        server
    }

    /// Starts the service with other quotas.
    pub(crate) fn with_quotas(
        database_url: &str,
        signing: SigningSettings,
        quotas: &QuotaLayer,
        name_hold: Duration,
    ) -> Self {
        let quotas = QuotaSettings::resolve(quotas).expect("the settings are sane");
        let server = Self::with(ServiceSettings { quotas, ..settings(database_url, signing, name_hold) });
        server.becomes_ready();
        server
    }

    /// Starts the service with another interval of heartbeats in live streams.
    pub(crate) fn with_heartbeat(database_url: &str, signing: SigningSettings, heartbeat: Duration) -> Self {
        let server =
            Self::with(ServiceSettings { heartbeat, ..settings(database_url, signing, Duration::ZERO) });
        server.becomes_ready();
        server
    }

    /// Starts the service with other settings of webhooks.
    pub(crate) fn with_webhooks(
        database_url: &str,
        signing: SigningSettings,
        webhooks: identity_webhooks::Settings,
    ) -> Self {
        let server =
            Self::with(ServiceSettings { webhooks, ..settings(database_url, signing, Duration::ZERO) });
        server.becomes_ready();
        server
    }

    /// The same with other quotas, too.
    pub(crate) fn with_webhooks_and_quotas(
        database_url: &str,
        signing: SigningSettings,
        webhooks: identity_webhooks::Settings,
        quotas: &QuotaLayer,
    ) -> Self {
        let quotas = QuotaSettings::resolve(quotas).expect("the settings are sane");
        let settings = settings(database_url, signing, Duration::ZERO);
        let server = Self::with(ServiceSettings { webhooks, quotas, ..settings });
        server.becomes_ready();
        server
    }

    /// Starts the service with witnesses.
    pub(crate) fn with_witnesses(
        database_url: &str,
        signing: SigningSettings,
        witnesses: Vec<Witness>,
    ) -> Self {
        let server =
            Self::with(ServiceSettings { witnesses, ..settings(database_url, signing, Duration::ZERO) });
        server.becomes_ready();
        server
    }

    /// Starts the service with other settings of how it uses Postgres, and other wire settings.
    pub(crate) fn with_postgres(
        database_url: &str,
        signing: SigningSettings,
        postgres: &PostgresLayer,
        wire: WireLayer,
    ) -> Self {
        let defaults = PostgresLayer { database_connections: Some(CONNECTIONS), ..PostgresLayer::default() };
        let postgres = postgres.clone().over(&defaults);
        let server = Self::with(ServiceSettings {
            wire: WireSettings::resolve(wire).expect("the settings are sane"),
            postgres: PostgresSettings::resolve(&postgres).expect("the settings are sane"),
            ..settings(database_url, signing, Duration::ZERO)
        });
        server.becomes_ready();
        server
    }

    /// Starts the service without waiting until it answers.
    pub(crate) fn begin(database_url: &str, signing: SigningSettings, name_hold: Duration) -> Self {
        Self::with(settings(database_url, signing, name_hold))
    }

    fn with(settings: ServiceSettings) -> Self {
        let service = wait(Service::start(settings)).expect("the service starts");
        let base_url = format!("http://{}", service.address());
        let metrics_address = service.metrics_address().expect("a free port can be had for metrics");
        Self { service: Some(service), base_url, metrics_url: format!("http://{metrics_address}") }
    }

    /// Returns when it answers.
    pub(crate) fn becomes_ready(&self) {
        wait(self.service.as_ref().expect("the service runs").ready());
    }

    /// The address of its metrics, without a slash at the end.
    pub(crate) fn metrics_url(&self) -> &str {
        &self.metrics_url
    }

    /// Its address, without a slash at the end.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(service) = self.service.take() else { return };
        let stopped = wait(service.stop());
        // A second panic would hide the first one.
        assert!(
            std::thread::panicking() || stopped.is_ok(),
            "the service did not stop in good order: {stopped:?}"
        );
    }
}

/// The settings of a test. No other place of the harness knows all their fields.
fn settings(database_url: &str, signing: SigningSettings, name_hold: Duration) -> ServiceSettings {
    ServiceSettings {
        listen: ([127, 0, 0, 1], 0).into(),
        database_url: database_url.into(),
        owner_url: None,
        mail_domain: "agents.localhost".to_owned(),
        tunnel_zone: "tunnels.localhost".to_owned(),
        name_hold,
        description_limit: 10_000,
        secrets: SecretsSettings::new(None, &signing.data_dir),
        signing,
        wire: WireSettings::resolve(WireLayer::default()).expect("defaults are sane"),
        quotas: QuotaSettings::resolve(&QuotaLayer::default()).expect("defaults are sane"),
        idempotency_retention: Duration::from_hours(24),
        trust_checkpoints: false,
        witnesses: vec![],
        heartbeat: HEARTBEAT,
        webhooks: webhooks(),
        postgres: PostgresSettings { connections: CONNECTIONS, ..PostgresSettings::default() },
    }
}

/// What fails is not sent again while a test runs, so that what it has caused does not change by itself.
fn webhooks() -> identity_webhooks::Settings {
    let layer = WebhookLayer { webhook_retry_delays: Some(vec![3_600]), ..WebhookLayer::default() };
    layer.resolve().expect("the settings are sane")
}
