//! Writing what a batch came to: events, the heads of the log and of its organizations, and claims on names, all in one
//! statement, because every statement is a round trip during which nobody else can write.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::envelope::{Envelope, Payload};
use crate::error::BatchError;
use crate::head::Head;
use crate::names::{self, Claim};
use crate::recorded::Recorded;

/// The parts touch different tables, so it does not matter that they all see the database as it was before. Whoever
/// listens is told once.
const STATEMENT: &str = "
    with recorded as (
        insert into events (position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
                            event_type, event_version, payload, metadata, recorded_at, leaf_hash)
        select position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
               event_type, event_version, payload::jsonb, metadata::jsonb, recorded_at, leaf_hash
        from unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[],
                    $7::text[], $8::text[], $9::text[], $10::text[], $11::timestamptz[], $12::bytea[])
             as batch (position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
                       event_type, event_version, payload, metadata, recorded_at, leaf_hash)
    ), head as (
        update log_head set position = $13, recorded_at = $14
    ), organizations as (
        insert into organization_heads (organization_id, sequence)
        select * from unnest($15::text[], $16::bigint[])
        on conflict on constraint organization_heads_pkey do update set sequence = excluded.sequence
    ), claimed as (
        insert into name_claims (namespace, name, organization_id, identity_id, released_at)
        select * from unnest($17::text[], $18::text[], $19::text[], $20::uuid[], $21::timestamptz[])
        on conflict on constraint name_claims_pkey do update
        set organization_id = excluded.organization_id,
            identity_id = excluded.identity_id,
            released_at = excluded.released_at
    )
    select pg_notify('identityd_log', $13::text)";

/// Writes events with everything in the log that follows from them.
pub(crate) async fn write(
    connection: &mut PgConnection,
    head: &Head,
    events: &[Recorded],
) -> Result<(), BatchError> {
    let Encoded { payloads, metadata, leaf_hashes } = Encoded::of(events)?;
    let (organizations, sequences) = head.touched();
    let claims = last_claims(events);
    sqlx::query(STATEMENT)
        .bind(column(events, |event| event.position))
        .bind(column(events, |event| event.organization_id.as_str()))
        .bind(column(events, |event| event.organization_sequence))
        .bind(column(events, |event| event.event.kind().as_str()))
        .bind(column(events, |event| event.aggregate_id.as_str()))
        .bind(column(events, |event| event.sequence))
        .bind(column(events, |event| event.event.name()))
        .bind(column(events, |event| event.event.version()))
        .bind(payloads)
        .bind(metadata)
        .bind(column(events, |event| event.recorded_at))
        .bind(leaf_hashes)
        .bind(head.position())
        .bind(head.recorded_at())
        .bind(organizations)
        .bind(sequences)
        .bind(column(&claims, |claim| claim.namespace.as_str()))
        .bind(column(&claims, |claim| claim.name.as_str()))
        .bind(column(&claims, |claim| claim.organization_id.as_str()))
        .bind(column(&claims, |claim| claim.identity_id))
        .bind(column(&claims, |claim| claim.released_at))
        .execute(connection)
        .await?;
    Ok(())
}

/// What has to be computed of every event.
struct Encoded {
    payloads: Vec<String>,
    metadata: Vec<String>,
    leaf_hashes: Vec<Vec<u8>>,
}

impl Encoded {
    fn of(events: &[Recorded]) -> Result<Self, BatchError> {
        let (mut payloads, mut metadata, mut leaf_hashes) = (vec![], vec![], vec![]);
        for event in events {
            let payload = Payload::of(&event.event.encode()?)?;
            leaf_hashes.push(Envelope::of(event, &payload).leaf_hash()?.to_vec());
            metadata.push(serde_json::to_string(&event.metadata.0)?);
            payloads.push(payload.into_text());
        }
        Ok(Self { payloads, metadata, leaf_hashes })
    }
}

/// Claims as they stand after the last event: a statement cannot write a row twice.
fn last_claims(events: &[Recorded]) -> Vec<Claim> {
    let mut claims: HashMap<_, Claim> = HashMap::new();
    for claim in events.iter().flat_map(names::fold) {
        claims.insert((claim.namespace, claim.name.clone()), claim);
    }
    claims.into_values().collect()
}

fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
