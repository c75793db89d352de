//! The rows of the log itself that a batch writes: events with their seals, heads of organizations, and claims on names.

use identity_proof::{Hash, SealKey};

use super::head::LogHead;
use super::names::ChangedClaim;
use super::statement::Writes;
use crate::error::BatchError;
use crate::event::envelope::{Envelope, Payload};
use crate::event::recorded::Recorded;

/// Adds the rows of a batch to `writes`. Encodes every event, computes its leaf hash and seals it. Returns the size of the payload
/// of each event, in bytes.
pub(super) fn record(
    events: &[Recorded],
    head: &LogHead,
    claims: &[ChangedClaim],
    seal_key: &SealKey,
    writes: &mut Writes,
) -> Result<Vec<u64>, BatchError> {
    let payload_bytes = record_events(events, seal_key, writes)?;
    record_organizations(head, writes)?;
    // Most names were never claimed before. A plain insert is cheaper than one with `on conflict`.
    let (changed, new): (Vec<&ChangedClaim>, Vec<&ChangedClaim>) =
        claims.iter().partition(|claim| claim.is_stored);
    record_claims(&new, "", writes)?;
    record_claims(&changed, REPLACE_CLAIM, writes)?;
    Ok(payload_bytes)
}

fn record_events(
    events: &[Recorded],
    seal_key: &SealKey,
    writes: &mut Writes,
) -> Result<Vec<u64>, BatchError> {
    let (mut payloads, mut metadata, mut leaf_hashes, mut seals) = (vec![], vec![], vec![], vec![]);
    for event in events {
        let payload = Payload::of(&event.event.encode()?)?;
        let leaf = Hash(Envelope::of(event, &payload).leaf_hash()?);
        leaf_hashes.push(leaf.0);
        seals.push(seal_key.seal(&leaf));
        metadata.push(serde_json::to_string(&event.metadata.0)?);
        payloads.push(payload.into_text());
    }
    let payload_bytes = payloads.iter().map(|payload| payload.len() as u64).collect();
    writes
        .counted_part(
            "insert into events (position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
                                 event_type, event_version, payload, metadata, recorded_at, leaf_hash, seal)
             select position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
                    event_type, event_version, payload::jsonb, metadata::jsonb, recorded_at, leaf_hash, seal
             from unnest(?::bigint[], ?::text[], ?::bigint[], ?::text[], ?::text[], ?::bigint[],
                         ?::text[], ?::text[], ?::text[], ?::text[], ?::timestamptz[], ?::bytea[], ?::bytea[])
                  as batch (position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
                            event_type, event_version, payload, metadata, recorded_at, leaf_hash, seal)
             where exists (select from turn)",
            events.len(),
        )
        .bind(column(events, |event| event.position))?
        .bind(column(events, |event| event.organization_id.as_str()))?
        .bind(column(events, |event| event.organization_sequence))?
        .bind(column(events, |event| event.event.kind().as_str()))?
        .bind(column(events, |event| event.aggregate_id.as_str()))?
        .bind(column(events, |event| event.sequence))?
        .bind(column(events, |event| event.event.name()))?
        .bind(column(events, |event| event.event.version()))?
        .bind(payloads)?
        .bind(metadata)?
        .bind(column(events, |event| event.recorded_at))?
        .bind(leaf_hashes)?
        .bind(seals)?;
    Ok(payload_bytes)
}

fn record_organizations(head: &LogHead, writes: &mut Writes) -> Result<(), BatchError> {
    let (organizations, sequences) = head.touched();
    let touched = organizations.len();
    writes
        .counted_part(
            "insert into organization_heads (organization_id, sequence)
             select * from unnest(?::text[], ?::bigint[])
             where exists (select from turn)
             on conflict on constraint organization_heads_pkey do update set sequence = excluded.sequence",
            touched,
        )
        .bind(organizations)?
        .bind(sequences)?;
    Ok(())
}

const REPLACE_CLAIM: &str = "
    on conflict on constraint name_claims_pkey do update
    set organization_id = excluded.organization_id,
        identity_id = excluded.identity_id,
        handle_released_at = excluded.handle_released_at,
        mail_released_at = excluded.mail_released_at";

fn record_claims(claims: &[&ChangedClaim], on_conflict: &str, writes: &mut Writes) -> Result<(), BatchError> {
    if claims.is_empty() {
        return Ok(());
    }
    let insert = "
        insert into name_claims (name, organization_id, identity_id, handle_released_at, mail_released_at)
        select * from unnest(?::text[], ?::text[], ?::uuid[], ?::timestamptz[], ?::timestamptz[])
        where exists (select from turn)";
    writes
        .counted_part(&[insert, on_conflict].concat(), claims.len())
        .bind(column(claims, |ChangedClaim { claim, .. }| claim.name.as_str()))?
        .bind(column(claims, |ChangedClaim { claim, .. }| claim.organization_id.as_str()))?
        .bind(column(claims, |ChangedClaim { claim, .. }| claim.identity_id))?
        .bind(column(claims, |ChangedClaim { claim, .. }| claim.handle_released_at))?
        .bind(column(claims, |ChangedClaim { claim, .. }| claim.mail_released_at))?;
    Ok(())
}

fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
