//! Proofs: checkpoints and proofs over HTTP, exports and their verification, and tampering.

mod endpoints;
mod exports;
mod forged;
mod lines;
mod older_events;
mod replay;
mod rotation;
mod second_history;
mod shared_memory;
mod streams;
mod tampering;
mod times;
mod unproved;
mod unsealed;
mod witness;
mod witnesses;

use std::fs;
use std::io::BufWriter;
use std::path::Path;

use identity_audit::report::{Fault, Report};
use identity_audit::verify;
use identity_log::proof::signer::Signer;
use identity_log::proof::{Refusal, SignError, Signed};
use identity_proof::trailer::Trailer;
use identityd::audit::export::{self, Range};
use identityd::audit::form::Lines;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::harness::{World, wait};

/// A history of a dozen events: creates, changes, a deletion.
fn with_a_history() -> World {
    let world = World::new();
    grow(&world, ["alpha", "bravo", "carol"]);
    world.admin().change("bravo", &json!({"description": "tea, not coffee"})).ok();
    world.admin().open("alpha");
    world.admin().remove("carol");
    grow(&world, ["delta", "echo", "fox"]);
    world
}

fn grow<const N: usize>(world: &World, handles: [&str; N]) {
    for handle in handles {
        world.admin().create(handle);
    }
}

/// A signer with the key and the memory of the service, whose own signer runs at the same time.
fn signer(world: &World) -> Signer {
    world.database().signing().any_signer(world.database().pool().clone()).unwrap()
}

/// Signs all events, and returns the checkpoint.
fn sign(world: &World) -> Signed {
    wait(signer(world).sign(world.organization_id())).unwrap().expect("there are events")
}

/// Why the signer refuses the log.
#[track_caller]
fn refused(world: &World) -> Refusal {
    match wait(signer(world).sign(world.organization_id())) {
        Err(SignError::Refused(refusal)) => refusal,
        other => panic!("{other:?} instead of a refusal"),
    }
}

/// The verifier key of the first epoch, as an auditor has it.
fn verifier_key(world: &World) -> String {
    signer(world).key().verifier_key(&format!("identityd/{}", world.organization_id()))
}

/// Exports a range without signing anything, as an operator can do whose signer is refused or missing.
fn export_range(world: &World, range: &Range) -> (NamedTempFile, Trailer) {
    let file = NamedTempFile::new().unwrap();
    let mut writer = Lines(BufWriter::new(file.reopen().unwrap()));
    let exporting =
        export::run(world.database().pool(), world.organization_id(), range, None, &mut writer, |_, _| ());
    let trailer = wait(exporting).unwrap();
    (file, trailer)
}

fn export(world: &World) -> NamedTempFile {
    export_range(world, &Range::default()).0
}

fn verify(file: impl AsRef<Path>, key: &str, previous: Option<&Signed>) -> Result<Report, Fault> {
    verify::file(file.as_ref(), key, previous.map(|signed| signed.note.as_str()), |_| ())
}

fn file(content: impl AsRef<[u8]>) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    fs::write(&file, content).unwrap();
    file
}
