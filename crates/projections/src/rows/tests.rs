//! The declaration of the events that a rebuild reads.

use std::collections::BTreeSet;

use identity_domain::{Event, Kind};
use identity_log::{Metadata, Recorded, codec};
use time::OffsetDateTime;

use super::{Effect, RowModel};
use crate::vault_access::VaultAccess;
use crate::visibility::VisibilityRows;

/// An example of every event of an aggregate type: those that the domain has committed.
fn examples<M: RowModel>() -> Vec<Event> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../domain/events");
    let files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let named = files.map(|file| (file.file_name().into_string().unwrap(), file.path()));
    let of_kind = format!("{}.", M::KIND.as_str());
    let named = named.filter(|(name, _)| name.starts_with(&of_kind));
    named.map(|(name, path)| decoded(M::KIND, &name, &std::fs::read(path).unwrap())).collect()
}

/// The event of a file, whose name has its type and version: `identity.renamed.v1.json`.
fn decoded(kind: Kind, file_name: &str, text: &[u8]) -> Event {
    let parts: Vec<&str> = file_name.split('.').collect();
    let event_type = parts[..2].join(".");
    codec::decode_text(kind, &event_type, &parts[2][1..], text).unwrap()
}

fn recorded(event: Event) -> Recorded {
    Recorded {
        position: 1,
        organization_id: "org".to_owned(),
        organization_sequence: 1,
        aggregate_id: "aggregate".to_owned(),
        sequence: 1,
        event,
        metadata: Metadata::default(),
        recorded_at: OffsetDateTime::UNIX_EPOCH,
    }
}

fn a_rebuild_reads_the_events_that_change_a_row_and_no_others<M: RowModel>() {
    let with_effect = examples::<M>()
        .into_iter()
        .filter(|event| !matches!(M::effect(&recorded(event.clone())), Effect::Nothing));
    let with_effect: BTreeSet<String> = with_effect.map(|event| event.name().to_owned()).collect();
    let read: BTreeSet<String> = M::EVENT_TYPES.unwrap().iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(read, with_effect, "{}", M::NAME);
}

#[test]
fn rebuilds_read_the_events_that_change_a_row_and_no_others() {
    a_rebuild_reads_the_events_that_change_a_row_and_no_others::<VisibilityRows>();
    a_rebuild_reads_the_events_that_change_a_row_and_no_others::<VaultAccess>();
}
