//! `identityd serve`: from opening the database to closing it again.

use std::time::Duration;

use serde_json::json;

use identityd::database::{Database, IfMissing};
use identityd::secrets_key::SecretsSettings;
use identityd::settings::{ServeSettings, Urls};
use identityd::signing::SigningSettings;
use identityd::{HEARTBEAT, Service, ServiceSettings};

use super::Installation;
use super::demo::Demo;
use super::interruption::{Hangup, Interruption};
use super::output::Output;
use super::supervisor::Supervisor;

/// How long running requests may take to end. The whole process should stop within ten seconds; the rest is for
/// Postgres.
const DRAIN_LIMIT: Duration = Duration::from_secs(7);

pub(super) async fn run(
    settings: &ServeSettings,
    installation: &Installation,
    output: Output,
    with_demo: bool,
) -> anyhow::Result<()> {
    let Installation { database, signing, secrets } = installation;
    // Signals are listened for before the database is opened, so that Ctrl-C in between does not leave a private
    // Postgres running.
    let reloads = settings.wire.tls.is_some() || Supervisor::is_there();
    let mut interruption = Interruption::listen(if reloads { Hangup::Reloads } else { Hangup::Stops })?;
    let database = match Database::open(database, IfMissing::Create, interruption.stop()).await {
        Ok(database) => database,
        // The command was told to stop while the private Postgres was starting.
        Err(_) if interruption.stop().is_told() => return Ok(()),
        Err(error) => return Err(error),
    };
    // A service that has started watches the database itself.
    let starting = start(settings, signing.clone(), secrets.clone(), &database, output, with_demo);
    let outcome = tokio::select! {
        started = database.unless_silent(settings.postgres.timeout, starting) => started.map(Some),
        () = interruption.arrives() => Ok(None),
    };
    let demo = with_demo.then(|| Demo::on(&database, signing));
    let outcome = match outcome {
        Ok(Some(service)) => tokio::select! {
            outcome = run_until_told(interruption, service, output, demo) => outcome,
            never = database.look_after() => match never {},
        },
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    let closed = database.close().await;
    outcome.and(closed)
}

async fn start(
    settings: &ServeSettings,
    signing: SigningSettings,
    secrets: SecretsSettings,
    database: &Database,
    output: Output,
    with_demo: bool,
) -> anyhow::Result<Service> {
    let settings = service_settings(settings, signing, secrets, database, with_demo);
    let service = Service::start(settings).await?;
    let base = format!("{}://{}", service.scheme(), service.address());
    let metrics = service.metrics_address().map(|address| format!("http://{address}/metrics"));
    let mut lines = vec![format!("listening on {base}")];
    lines.extend(metrics.as_ref().map(|url| format!("metrics on {url}")));
    let mut listening = json!({ "listening_on": base });
    if let (Some(metrics), Some(listening)) = (metrics, listening.as_object_mut()) {
        listening.insert("metrics_on".to_owned(), metrics.into());
    }
    output.print_lines(&listening, &lines)?;
    Ok(service)
}

async fn run_until_told(
    mut interruption: Interruption,
    service: Service,
    output: Output,
    demo: Option<Demo<'_>>,
) -> anyhow::Result<()> {
    let mut supervisor = Supervisor::notify_ready(interruption.reloads());
    let outcome = tokio::select! {
        outcome = wait_until_told(&mut interruption, &service, output, demo) => outcome,
        never = supervisor.keep_alive(&service) => match never {},
    };
    outcome.and(drain(service).await)
}

async fn wait_until_told(
    interruption: &mut Interruption,
    service: &Service,
    output: Output,
    demo: Option<Demo<'_>>,
) -> anyhow::Result<()> {
    if let Some(demo) = demo {
        tokio::select! {
            introduced = demo.introduce(service, output) => introduced?,
            () = interruption.arrives() => return Ok(()),
        }
    }
    interruption.arrives().await;
    Ok(())
}

async fn drain(service: Service) -> anyhow::Result<()> {
    tracing::info!("stopping");
    Supervisor::notify_stopping();
    let stopped = tokio::time::timeout(DRAIN_LIMIT, service.stop()).await;
    stopped.unwrap_or_else(|_| {
        tracing::warn!("some requests did not end within {DRAIN_LIMIT:?} and were cut off");
        Ok(())
    })
}

fn service_settings(
    settings: &ServeSettings,
    signing: SigningSettings,
    secrets: SecretsSettings,
    database: &Database,
    with_demo: bool,
) -> ServiceSettings {
    let ServeSettings {
        listen,
        mail_domain,
        tunnel_zone,
        name_hold,
        description_limit,
        wire,
        quotas,
        postgres,
        mut webhooks,
        idempotency_retention,
        trust_checkpoints,
        witnesses,
    } = settings.clone();
    webhooks.policy.allows_loopback = with_demo;
    let Urls { service: database_url, owner: owner_url } = database.urls().clone();
    ServiceSettings {
        listen,
        database_url,
        owner_url,
        mail_domain,
        tunnel_zone,
        name_hold,
        description_limit,
        signing,
        secrets,
        wire,
        quotas,
        postgres,
        webhooks,
        idempotency_retention,
        trust_checkpoints,
        witnesses,
        heartbeat: HEARTBEAT,
    }
}
