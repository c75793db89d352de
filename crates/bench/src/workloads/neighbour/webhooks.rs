//! The same with webhooks as the weapon, and as what the victim waits for: the time from a change of the victim to the receipt of
//! its webhook, and whether all arrive.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use identityd::operator::Operator;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::{attack, with_body};
use crate::arena::Arena;
use crate::load::{self, Load};
use crate::ours::{Ours, ask};
use crate::results::{Bound, Results, milliseconds};
use crate::scale::Scale;
use crate::seed::Seeded;
use crate::workloads::webhooks::receiver::Receiver;
use crate::workloads::webhooks::{Changes, DEMO, Pace, subscribe};

/// The victim changes its identities 50 times a second.
const PACE: Pace = Pace { connections: 10, interval: Duration::from_millis(200) };

/// How many identities the victim has, each with a subscription.
const VICTIM_IDENTITIES: usize = 10;

/// How many turns of other workloads one takes.
const LONGER: u32 = 4;

/// How many connections the hostile key has.
const CONNECTIONS: usize = 48;

/// As many subscriptions as an identity, and an organization, may have.
const SUBSCRIPTIONS_OF_IDENTITY: usize = 20;
const SUBSCRIPTIONS_OF_ORGANIZATION: usize = 1_000;

/// As many log endpoints as an organization may have.
const LOG_ENDPOINTS: usize = 16;

/// How many deliveries the hostile key sends again, each of a subscription of its own.
const REPLAYED: usize = 8;

/// How often it is asked whether a delivery is listed.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What the hostile key does.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Changes identities that have as many subscriptions as they may, whose endpoint never answers.
    DeadEndpoints,
    /// Changes an identity that 1,000 others see, each with a subscription whose endpoint never answers.
    Audience,
    /// Has a history sent, from its beginning, to log endpoints that refuse everything, and makes it longer.
    LogEndpoints,
    /// Sends deliveries again to an endpoint that never answers.
    Replays,
}

impl Way {
    const ALL: [Self; 4] = [Self::DeadEndpoints, Self::Audience, Self::LogEndpoints, Self::Replays];

    /// Prepares the attack. Returns the requests that each of its connections repeats in turn.
    async fn prepare(self, ours: &Ours, receiver: &Receiver) -> anyhow::Result<Vec<String>> {
        let (address, key) = (ours.server.address, &ours.key);
        match self {
            Self::DeadEndpoints => {
                let identities =
                    ours.seed("hostile", SUBSCRIPTIONS_OF_ORGANIZATION / SUBSCRIPTIONS_OF_IDENTITY).await?;
                for _ in 0..SUBSCRIPTIONS_OF_IDENTITY {
                    subscribe(address, key, &identities, |_| receiver.url("dead")).await?;
                }
                Ok(changes(&identities, key))
            }
            Self::Audience => {
                let identities = ours.seed("hostile", SUBSCRIPTIONS_OF_ORGANIZATION).await?;
                subscribe(address, key, &identities, |_| receiver.url("dead")).await?;
                let everybody = r#"{"viewer_identity_id":null}"#;
                let status = ask(address, "POST", "/identities/hostile-0/access", key, everybody).await?;
                ensure!(status == 201, "a grant was answered with {status}");
                Ok(changes(
                    &Seeded { ids: identities.ids.iter().take(1).copied().collect(), ..identities },
                    key,
                ))
            }
            Self::LogEndpoints => {
                let identities = ours.seed("hostile", SUBSCRIPTIONS_OF_ORGANIZATION).await?;
                let body = format!(r#"{{"url":"{}","after":0}}"#, receiver.url("refusing"));
                for _ in 0..LOG_ENDPOINTS {
                    let status = ask(address, "POST", "/webhooks/log-endpoints", key, &body).await?;
                    ensure!(status == 201, "a log endpoint was answered with {status}");
                }
                Ok(changes(&identities, key))
            }
            Self::Replays => replays(ours, receiver).await,
        }
    }
}

/// Changes of each identity, to something new each time.
fn changes(identities: &Seeded, key: &str) -> Vec<String> {
    let change = |text: &str| {
        let body = format!(r#"{{"description":"{text}"}}"#);
        let path = |number| format!("/api/v1/identities/{}", identities.handle(number));
        (0..identities.ids.len())
            .map(|number| with_body("PATCH", &path(number), key, &body))
            .collect::<Vec<_>>()
    };
    [change("first"), change("second")].concat()
}

/// Replays of deliveries whose subscriptions were answered at first, and have a dead endpoint by now.
async fn replays(ours: &Ours, receiver: &Receiver) -> anyhow::Result<Vec<String>> {
    let (address, key) = (ours.server.address, &ours.key);
    let identities = ours.seed("hostile", REPLAYED).await?;
    subscribe(address, key, &identities, |_| receiver.url("uncounted")).await?;
    for number in 0..REPLAYED {
        let path = format!("/identities/{}", identities.handle(number));
        ask(address, "PATCH", &path, key, r#"{"description":"changed"}"#).await?;
    }
    let subscriptions = listed(ours, "subscriptions", REPLAYED).await?;
    let deliveries = listed(ours, "deliveries", REPLAYED).await?;
    let body = format!(r#"{{"url":"{}"}}"#, receiver.url("dead"));
    for id in subscriptions {
        let status = ask(address, "PATCH", &format!("/webhooks/subscriptions/{id}"), key, &body).await?;
        ensure!(status == 200, "a change of a subscription was answered with {status}");
    }
    let replay =
        |id: &String| with_body("POST", &format!("/api/v1/webhooks/deliveries/{id}/replay"), key, "{}");
    Ok(deliveries.iter().map(replay).collect())
}

/// The ids in the list of this name, once it has `count` of them.
async fn listed(ours: &Ours, name: &str, count: usize) -> anyhow::Result<Vec<String>> {
    loop {
        let body = ours.get(&format!("/webhooks/{name}")).await?;
        let list: Value = serde_json::from_str(&body).with_context(|| format!("{name}: {body}"))?;
        let entries = list.get(name).and_then(Value::as_array).into_iter().flatten();
        let ids: Vec<String> =
            entries.filter_map(|entry| Some(entry.get("id")?.as_str()?.to_owned())).collect();
        if ids.len() >= count {
            return Ok(ids);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Each way has a service of its own, so that what one leaves behind does not wait beside the next.
pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    for way in Way::ALL {
        // What the victim receives, and what the hostile key receives, are counted apart.
        let (receiver, hostile_receiver) = (Receiver::start().await?, Receiver::start().await?);
        let name = format!("webhooks_{way:?}").to_lowercase();
        let ours = Ours::start_with(arena, &name, DEMO).await?;
        let operator = Operator::new(ours.pool.clone(), ours.signing.clone());
        let organization = operator.create_organization("victim").await?;
        let key = organization.api_key.expose_secret();
        let identities = ours.seed_of(&organization.organization_id, "victim", VICTIM_IDENTITIES).await?;
        subscribe(ours.server.address, key, &identities, |_| receiver.url("working")).await?;
        // Each was told of the signing key that it brought its identity.
        receiver.take(VICTIM_IDENTITIES).await?;
        let victim = Victim { ours: &ours, key, identities, receiver: &receiver };
        let quiet = victim.percentile_95(scale).await?;
        let requests = way.prepare(&ours, &hostile_receiver).await?;
        // Each connection begins with another request.
        let in_turn = |connection: usize| {
            let mut requests = requests.clone();
            let first = connection % requests.len();
            requests.rotate_left(first);
            requests
        };
        let hostile = attack(ours.server.address, CONNECTIONS, true, in_turn).await;
        tokio::time::sleep(scale.turn).await;
        let beside = victim.percentile_95(scale).await?;
        drop(hostile);
        let claim = format!("{way:?}: the victim's 95th percentile of webhooks, by its quiet {quiet:.1} ms");
        results.judge(claim, beside / quiet, Bound::AtMost(5.0));
        ours.stop().await?;
    }
    Ok(())
}

/// Whose webhooks are measured.
struct Victim<'a> {
    ours: &'a Ours,
    key: &'a str,
    identities: Seeded,
    receiver: &'a Receiver,
}

impl Victim<'_> {
    /// The 95th percentile of the time from a change to the receipt of its webhook, in milliseconds. Fails if a change is refused, or
    /// a webhook does not arrive within a minute.
    async fn percentile_95(&self, scale: Scale) -> anyhow::Result<f64> {
        let (address, time) = (self.ours.server.address, scale.turn * LONGER);
        let load = Load { address, connections: PACE.connections, time };
        let sent = load::run(load, Changes::of(self.key, &self.identities, PACE)).await?;
        ensure!(sent.refused == 0, "the victim was refused {} times", sent.refused);
        let delays = self.receiver.take(sent.latencies.len()).await?;
        Ok(milliseconds(&delays, 95))
    }
}
