//! `identityd webhooks deliveries`.

use clap::Args;
use identity_webhooks::deliveries::{Delivery, listing};
use serde_json::{Value, json};
use uuid::Uuid;

use identityd::database::IfMissing;

use super::output::{Output, print_list, timestamp};
use super::table::{Table, Tone, Toned, ago, plain};
use super::{Installation, with_database};

#[derive(Debug, Args)]
pub(super) struct ListFlags {
    /// Id of the subscription
    subscription: Uuid,

    /// How many, the newest first
    #[arg(long, value_name = "NUMBER", default_value = "50", value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
}

pub(super) async fn list(
    flags: &ListFlags,
    installation: &Installation,
    output: Output,
) -> anyhow::Result<()> {
    let listing = with_database(&installation.database, IfMissing::Refuse, async |database| {
        database.migrate_if_begun().await?;
        Ok(listing::newest(database.pool(), flags.subscription, flags.limit).await?)
    });
    let listed = listing.await?;
    let json = listed.iter().map(as_json).collect();
    let lines: Vec<_> = listed.iter().map(as_line).collect();
    let mut table =
        Table::new("deliveries", &["DELIVERY", "EVENT", "TYPE", "SENT", "TOOK", "ANSWER"], &[0, 1]);
    for delivery in &listed {
        table.add(as_row(delivery));
    }
    print_list(output, json, &lines, &table)
}

fn answer(delivery: &Delivery) -> String {
    let status = delivery.response_status.map(|status| status.to_string());
    let parts = [status, delivery.error_detail.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn as_json(delivery: &Delivery) -> Value {
    json!({
        "id": delivery.id,
        "event_id": delivery.event_id,
        "event_type": delivery.event_type,
        "url": delivery.url,
        "response_status": delivery.response_status,
        "error_detail": delivery.error_detail,
        "duration_ms": delivery.duration_ms,
        "is_replay": delivery.is_replay,
        "created_at": timestamp(delivery.created_at),
    })
}

fn as_line(delivery: &Delivery) -> Vec<String> {
    let Delivery { id, event_id, event_type, duration_ms, created_at, .. } = delivery;
    vec![
        id.to_string(),
        event_id.clone(),
        event_type.clone(),
        timestamp(*created_at),
        format!("{duration_ms} ms"),
        answer(delivery),
    ]
}

fn as_row(delivery: &Delivery) -> [Toned; 6] {
    let is_good = delivery.error_detail.is_none() && matches!(delivery.response_status, Some(200..300));
    [
        plain(delivery.id.to_string()),
        plain(&delivery.event_id),
        plain(&delivery.event_type),
        plain(ago(delivery.created_at)),
        plain(format!("{} ms", delivery.duration_ms)),
        (answer(delivery), if is_good { Tone::Good } else { Tone::Bad }),
    ]
}
