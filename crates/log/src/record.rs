//! Writing what a batch came to: events, the heads of the log and of its organizations, and claims on names, all in one
//! statement, because every statement is a round trip during which nobody else can write.

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::envelope::{Envelope, Payload};
use crate::error::BatchError;
use crate::head::Head;
use crate::names::Changed;
use crate::recorded::Recorded;

/// The parts touch different rows, so it does not matter that they all see the database as it was before. Names that were
/// never claimed are many, and cheaper to insert where nothing can be in the way. Whoever listens is told once.
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
    ), claims as (
        select *
        from unnest($17::text[], $18::text[], $19::uuid[], $20::timestamptz[], $21::timestamptz[], $22::boolean[])
             as claim (name, organization_id, identity_id, handle_released_at, mail_released_at, stored)
    ), claimed as (
        insert into name_claims (name, organization_id, identity_id, handle_released_at, mail_released_at)
        select name, organization_id, identity_id, handle_released_at, mail_released_at from claims where not stored
    ), changed as (
        insert into name_claims (name, organization_id, identity_id, handle_released_at, mail_released_at)
        select name, organization_id, identity_id, handle_released_at, mail_released_at from claims where stored
        on conflict on constraint name_claims_pkey do update
        set organization_id = excluded.organization_id,
            identity_id = excluded.identity_id,
            handle_released_at = excluded.handle_released_at,
            mail_released_at = excluded.mail_released_at
    )
    select pg_notify('identityd_log', $13::text)";

/// What is written into the log of a batch, with what has to be computed of every event.
#[derive(Debug)]
pub(crate) struct Record {
    payloads: Vec<String>,
    metadata: Vec<String>,
    leaf_hashes: Vec<Vec<u8>>,
    position: i64,
    recorded_at: OffsetDateTime,
    organizations: Vec<String>,
    sequences: Vec<i64>,
    claims: Vec<Changed>,
}

impl Record {
    /// Events, where the log ends after them, and the claims that they change.
    pub(crate) fn of(events: &[Recorded], head: &Head, claims: Vec<Changed>) -> Result<Self, BatchError> {
        let (mut payloads, mut metadata, mut leaf_hashes) = (vec![], vec![], vec![]);
        for event in events {
            let payload = Payload::of(&event.event.encode()?)?;
            leaf_hashes.push(Envelope::of(event, &payload).leaf_hash()?.to_vec());
            metadata.push(serde_json::to_string(&event.metadata.0)?);
            payloads.push(payload.into_text());
        }
        let (organizations, sequences) = head.touched();
        let (position, recorded_at) = (head.position(), head.recorded_at());
        Ok(Self { payloads, metadata, leaf_hashes, position, recorded_at, organizations, sequences, claims })
    }

    /// Writes these events, of which it is the record.
    pub(crate) async fn write(
        &self,
        connection: &mut PgConnection,
        events: &[Recorded],
    ) -> Result<(), BatchError> {
        let claims = &self.claims;
        sqlx::query(STATEMENT)
            .bind(column(events, |event| event.position))
            .bind(column(events, |event| event.organization_id.as_str()))
            .bind(column(events, |event| event.organization_sequence))
            .bind(column(events, |event| event.event.kind().as_str()))
            .bind(column(events, |event| event.aggregate_id.as_str()))
            .bind(column(events, |event| event.sequence))
            .bind(column(events, |event| event.event.name()))
            .bind(column(events, |event| event.event.version()))
            .bind(&self.payloads)
            .bind(&self.metadata)
            .bind(column(events, |event| event.recorded_at))
            .bind(&self.leaf_hashes)
            .bind(self.position)
            .bind(self.recorded_at)
            .bind(&self.organizations)
            .bind(&self.sequences)
            .bind(column(claims, |Changed { claim, .. }| claim.name.as_str()))
            .bind(column(claims, |Changed { claim, .. }| claim.organization_id.as_str()))
            .bind(column(claims, |Changed { claim, .. }| claim.identity_id))
            .bind(column(claims, |Changed { claim, .. }| claim.handle_released_at))
            .bind(column(claims, |Changed { claim, .. }| claim.mail_released_at))
            .bind(column(claims, |Changed { stored, .. }| *stored))
            .execute(connection)
            .await?;
        Ok(())
    }
}

fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
