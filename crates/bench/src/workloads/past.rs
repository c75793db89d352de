//! One identity with a long history: as it was at an earlier moment, and the first write to it by a process that has not met it
//! before. The events are written into the log in bulk, and the read models are rebuilt from it.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use identity_log::recorded::timestamp;
use identity_projections::states::EVENTS_BETWEEN_STATES;
use time::OffsetDateTime;

use super::rebuild::{WORKERS, rebuild_of};
use crate::arena::{Arena, tidy};
use crate::load::{self, Load};
use crate::ours::{self, Ours};
use crate::requests::{self, Same};
use crate::results::{Bound, Results, Round, Series};
use crate::scale::Scale;

/// How many events one statement inserts.
const EVENTS_PER_STATEMENT: usize = 100_000;

/// The bounds of the two sizes, in milliseconds.
const BOUNDS: [f64; 2] = [3.0, 5.0];

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let mut ours = Ours::start(arena, "past").await?;
    for (number, events) in scale.long.into_iter().enumerate() {
        grow(&ours, number, events).await?;
    }
    for name in ["identities", "identity_states"] {
        let round = rebuild_of(name, &ours.pool, WORKERS).await?;
        results.notes.push(format!(
            "the read model {name} of the long histories was rebuilt at {:.0} events a second",
            round.per_second
        ));
    }
    note_size(&ours, results).await?;
    tidy(&ours.pool).await?;
    for ((number, events), bound) in scale.long.into_iter().enumerate().zip(BOUNDS) {
        as_of(&ours, scale, results, (number, events, bound)).await?;
    }
    for (number, events) in scale.long.into_iter().enumerate() {
        ours = ours.restart(arena).await?;
        first_write(&ours, results, number, events).await?;
    }
    ours.stop().await
}

/// How much of the database the stored states take.
async fn note_size(ours: &Ours, results: &mut Results) -> anyhow::Result<()> {
    let query =
        "select pg_total_relation_size('read_model.identity_states'), pg_total_relation_size('events')";
    let (states, events): (i64, i64) = sqlx::query_as(query).fetch_one(&ours.pool).await?;
    results.notes.push(format!(
        "stored states of the long histories take {states} bytes, their events {events} bytes"
    ));
    Ok(())
}

/// An identity as it was right before one of its last states was stored, when most events have to be folded.
async fn as_of(
    ours: &Ours,
    scale: Scale,
    results: &mut Results,
    (number, events, bound): (usize, usize, f64),
) -> anyhow::Result<()> {
    let events_in_all = i64::try_from(events)?;
    let sequence = events_in_all - events_in_all % EVENTS_BETWEEN_STATES - 1;
    let query = "select recorded_at
                 from events
                 join read_model.identities on id::text = aggregate_id
                 where aggregate_type = 'identity' and agent_handle = $1 and sequence = $2";
    let moment: OffsetDateTime =
        sqlx::query_scalar(query).bind(handle(number)).bind(sequence).fetch_one(&ours.pool).await?;
    let mut request = Vec::new();
    let path = format!("/{}?as_of={}", handle(number), timestamp(moment));
    requests::write(&mut request, "GET", &path, &ours.key, "");
    let request = Arc::new(Same(request));
    let mut rounds = vec![];
    for _ in 0..scale.rounds {
        let load = Load { address: ours.server.address, connections: 1, time: scale.turn };
        rounds.push(Round::of(&load::run(load, request.clone()).await?));
    }
    let workload = format!("as_of after {events} events");
    let series = Series { workload, contestant: "ours", connections: 1, rounds };
    let median = series.median(|round| round.p50);
    results.add(series);
    let claim = format!("as_of of an identity of {events} events: milliseconds in the median");
    results.judge(claim, median, Bound::AtMost(bound));
    Ok(())
}

/// The first write of a process, which has to learn the state of the identity. It is later than other writes, since the process
/// has to connect, too.
async fn first_write(ours: &Ours, results: &mut Results, number: usize, events: usize) -> anyhow::Result<()> {
    let path = format!("/identities/{}", handle(number));
    let body = r#"{"description":"met for the first time"}"#;
    let started = Instant::now();
    let status = ours::ask(ours.server.address, "PATCH", &path, &ours.key, body).await?;
    ensure!(status == 200, "a write to a long history was answered with {status}");
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    results.notes.push(format!(
        "the first write of a process, to an identity of {events} events, was answered after {milliseconds:.1} ms"
    ));
    Ok(())
}

fn handle(number: usize) -> String {
    format!("long-{number}")
}

/// Creates an identity and writes its other events in several statements. They have no seals, since Postgres does not have the
/// key.
async fn grow(ours: &Ours, number: usize, events: usize) -> anyhow::Result<()> {
    let seeded = ours.seeding(async |seeder| seeder.create_from("long", number, 1).await).await?;
    let id = seeded.ids.first().context("no identity was created")?.to_string();
    for first in (2..=events).step_by(EVENTS_PER_STATEMENT) {
        let last = events.min(first + EVENTS_PER_STATEMENT - 1);
        let count = i64::try_from(last - first + 1)?;
        let mut transaction = ours.pool.begin().await?;
        sqlx::query(EVENTS)
            .bind(&id)
            .bind(i64::try_from(first)?)
            .bind(count)
            .bind(&ours.organization_id)
            .execute(&mut *transaction)
            .await
            .context("cannot grow")?;
        sqlx::query(
            "update log_head
             set position = position + $1, recorded_at = recorded_at + $1 * interval '1 microsecond'",
        )
        .bind(count)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("update organization_heads set sequence = sequence + $1 where organization_id = $2")
            .bind(count)
            .bind(&ours.organization_id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
    }
    ours.sign_as_it_is().await
}

/// Inserts events of the identity `$1`, from the sequence `$2` on, as many as `$3`.
const EVENTS: &str = r#"
    insert into events (position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
                        event_type, event_version, payload, metadata, recorded_at, leaf_hash)
    select log_head.position + place, $4, heads.sequence + place, 'identity', $1, $2 + place - 1,
           'identity.description_changed', '1',
           format('{"type":"identity.description_changed","description":"Answers letters, since turn %s in another tone"}',
                  $2 + place - 1)::jsonb,
           '{"actor":"operator","actor_kind":"operator","request_id":"past","software":"identity-bench"}',
           log_head.recorded_at + place * interval '1 microsecond',
           sha256(convert_to($1 || ' ' || ($2 + place - 1), 'UTF8'))
    from log_head
    join organization_heads as heads on heads.organization_id = $4
    cross join generate_series(1, $3::bigint) as place"#;
