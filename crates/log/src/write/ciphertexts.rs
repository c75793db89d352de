//! The ciphertexts that a batch stores and deletes, as parts of its statement.

use std::collections::{BTreeMap, BTreeSet};

use identity_domain::Kind;
use time::OffsetDateTime;

use super::queue::Outcome;
use super::statement::Writes;
use crate::append::{Append, Committed};
use crate::ciphertexts::CiphertextChange;

/// Type and id of an aggregate, and the name of one of its ciphertexts.
type Key<'a> = (Kind, &'a str, &'a str);

/// A ciphertext that is stored.
struct Stored<'a> {
    organization_id: &'a str,
    ciphertext: &'a [u8],
    recorded_at: OffsetDateTime,
}

/// The changes of a batch. No ciphertext is in it twice, since the parts of a statement must not touch the same row.
#[derive(Default)]
struct Changes<'a> {
    /// Aggregates that the batch ends.
    ended: BTreeSet<(Kind, &'a str)>,
    /// The last change of each ciphertext; `None` deletes it.
    changed: BTreeMap<Key<'a>, Option<Stored<'a>>>,
}

/// Adds the changes of all accepted commands to `writes`. A command that yields no event changes no ciphertext.
pub(super) fn record(
    appends: &[&Append],
    outcomes: &[Outcome],
    writes: &mut Writes,
) -> Result<(), sqlx::Error> {
    let mut changes = Changes::default();
    for (append, outcome) in appends.iter().zip(outcomes) {
        let Ok(committed) = outcome else { continue };
        for append in append.commands() {
            changes.add(append, committed);
        }
        changes.end(committed);
    }
    changes.changed.retain(|(kind, id, _), _| !changes.ended.contains(&(*kind, *id)));
    changes.write(writes)
}

impl<'a> Changes<'a> {
    /// Adds the changes that a command brings, if it has yielded an event.
    fn add(&mut self, append: &'a Append, committed: &Committed) {
        let (kind, id) = (append.command.kind(), append.aggregate_id.as_str());
        let mut events = committed.all_events();
        let Some(event) = events.find(|event| event.event.kind() == kind && event.aggregate_id == id) else {
            return;
        };
        for change in &append.ciphertexts {
            let (name, stored) = match change {
                CiphertextChange::Put { name, ciphertext } => {
                    let organization_id = append.organization_id.as_str();
                    (name, Some(Stored { organization_id, ciphertext, recorded_at: event.recorded_at }))
                }
                CiphertextChange::Delete { name } => (name, None),
            };
            self.changed.insert((kind, id, name), stored);
        }
    }

    /// Adds the aggregates that a command ends.
    fn end(&mut self, committed: &'a Committed) {
        let ends = committed.all_events().filter(|event| event.event.is_end());
        self.ended.extend(ends.map(|event| (event.event.kind(), event.aggregate_id.as_str())));
    }

    fn write(&self, writes: &mut Writes) -> Result<(), sqlx::Error> {
        if !self.ended.is_empty() {
            self.delete_all_of_ended(writes)?;
        }
        if self.changed.values().any(Option::is_none) {
            self.delete_single(writes)?;
        }
        if self.changed.values().any(Option::is_some) {
            self.put(writes)?;
        }
        Ok(())
    }

    fn delete_all_of_ended(&self, writes: &mut Writes) -> Result<(), sqlx::Error> {
        let (kinds, ids): (Vec<&str>, Vec<&str>) =
            self.ended.iter().map(|(kind, id)| (kind.as_str(), *id)).unzip();
        writes
            .part(
                "delete from ciphertexts
                 where ctid = any(array(
                           select known.ctid
                           from unnest(?::text[], ?::text[]) as ended (kind, id)
                           cross join lateral (
                               select ctid from ciphertexts where aggregate_type = kind and aggregate_id = id offset 0
                           ) as known
                       ))
                   and exists (select from turn)",
            )
            .bind(kinds)?
            .bind(ids)?;
        Ok(())
    }

    fn delete_single(&self, writes: &mut Writes) -> Result<(), sqlx::Error> {
        let keys: Vec<&Key<'_>> =
            self.changed.iter().filter(|(_, stored)| stored.is_none()).map(|(key, _)| key).collect();
        writes
            .part(
                "delete from ciphertexts
                 where ctid = any(array(
                           select known.ctid
                           from unnest(?::text[], ?::text[], ?::text[]) as gone (kind, id, gone_name)
                           cross join lateral (
                               select ctid from ciphertexts
                               where aggregate_type = kind and aggregate_id = id and name = gone_name
                               offset 0
                           ) as known
                       ))
                   and exists (select from turn)",
            )
            .bind(keys.iter().map(|(kind, ..)| kind.as_str()).collect::<Vec<_>>())?
            .bind(keys.iter().map(|(_, id, _)| *id).collect::<Vec<_>>())?
            .bind(keys.iter().map(|(.., name)| *name).collect::<Vec<_>>())?;
        Ok(())
    }

    fn put(&self, writes: &mut Writes) -> Result<(), sqlx::Error> {
        let rows: Vec<(&Key<'_>, &Stored<'_>)> =
            self.changed.iter().filter_map(|(key, stored)| Some((key, stored.as_ref()?))).collect();
        writes
            .part(
                "insert into ciphertexts (aggregate_type, aggregate_id, name, organization_id, ciphertext, recorded_at)
                 select * from unnest(?::text[], ?::text[], ?::text[], ?::text[], ?::bytea[], ?::timestamptz[])
                 where exists (select from turn)
                 on conflict on constraint ciphertexts_pkey do update
                 set ciphertext = excluded.ciphertext, recorded_at = excluded.recorded_at",
            )
            .bind(rows.iter().map(|((kind, ..), _)| kind.as_str()).collect::<Vec<_>>())?
            .bind(rows.iter().map(|((_, id, _), _)| *id).collect::<Vec<_>>())?
            .bind(rows.iter().map(|((.., name), _)| *name).collect::<Vec<_>>())?
            .bind(rows.iter().map(|(_, stored)| stored.organization_id).collect::<Vec<_>>())?
            .bind(rows.iter().map(|(_, stored)| stored.ciphertext.to_vec()).collect::<Vec<_>>())?
            .bind(rows.iter().map(|(_, stored)| stored.recorded_at).collect::<Vec<_>>())?;
        Ok(())
    }
}
