//! Exports: whole, in part, cut off, and changed.

use std::fs;

use identity_audit::report::Report;
use identityd::audit::export::{self, Range};
use identityd::audit::form::Table;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::{
    export as exported, export_range, file, grow, sign, signer, verifier_key, verify, with_a_history,
};
use crate::harness::{World, wait};

fn part(world: &World, after: u64, until: Option<u64>) -> Report {
    let (file, _) = export_range(world, &Range { after, until });
    verify(file, &verifier_key(world), None).unwrap()
}

#[test]
fn a_file_that_was_cut_anywhere_is_refused() {
    let world = with_a_history();
    sign(&world);
    let whole = fs::read(exported(&world)).unwrap();
    let key = verifier_key(&world);
    // A file that lacks only its last newline is complete.
    for length in (0..whole.len() - 1).step_by(7).chain([whole.len() - 2]) {
        let fault = verify(file(&whole[..length]), &key, None).unwrap_err();
        let lines = whole[..length].split(|byte| *byte == b'\n').count() as u64 - 1;
        assert_eq!(fault.line, Some(lines + 1), "cut after {length} bytes");
        assert!(fault.what.contains("cut off"), "{fault}");
    }
}

#[test]
fn a_part_is_proved_to_belong_to_the_whole() {
    let world = with_a_history();
    let size = sign(&world).checkpoint.size;
    for after in 0..size {
        for until in after + 1..=size {
            let report = part(&world, after, Some(until));
            assert_eq!((report.first, report.last), (Some(after + 1), Some(until)));
            assert_eq!(report.checkpoint.size, size);
            assert_eq!((report.proved, report.unproved), (until - after, vec![]));
            let absent = [(1, after), (until + 1, size)].into_iter().filter(|(first, last)| first <= last);
            assert_eq!(report.absent, absent.collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_part_that_was_changed_is_refused() {
    let world = with_a_history();
    sign(&world);
    let (part, _) = export_range(&world, &Range { after: 3, until: Some(8) });
    let text = fs::read_to_string(part).unwrap();
    let fault = verify(file(text.replace("tea, not", "tea, nou")), &verifier_key(&world), None).unwrap_err();
    assert_eq!((fault.line, fault.sequence), (Some(3), Some(6)));
}

/// Lines without a leaf hash can only be checked together, by the root.
#[test]
fn events_without_their_leaf_hashes_are_verified_all_the_same() {
    let world = with_a_history();
    sign(&world);
    let text = fs::read_to_string(exported(&world)).unwrap();
    let stripped = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("leaf_hash");
        line.to_string()
    });
    let without = stripped.chain([String::new()]).collect::<Vec<_>>().join("\n");
    let key = verifier_key(&world);
    verify(file(&without), &key, None).unwrap();
    let fault = verify(file(without.replace("tea, not", "tea, nou")), &key, None).unwrap_err();
    assert!(fault.what.ends_with("are not those that were signed"), "{fault}");
}

#[test]
fn a_line_that_is_said_twice_left_out_or_made_up_is_named() {
    let world = with_a_history();
    sign(&world);
    let text = fs::read_to_string(exported(&world)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let key = verifier_key(&world);
    let first_bad = |lines: &[&str]| verify(file(lines.join("\n")), &key, None).unwrap_err().line;
    let twice = [&lines[..4], &lines[3..]].concat();
    let left_out = [&lines[..3], &lines[4..]].concat();
    let made_up = [&lines[..3], &["{}"], &lines[4..]].concat();
    let blank = [&lines[..3], &[""], &lines[3..]].concat();
    assert_eq!(first_bad(&twice), Some(5));
    assert_eq!(first_bad(&left_out), Some(4));
    assert_eq!(first_bad(&made_up), Some(4));
    assert_eq!(first_bad(&blank), Some(4));
}

#[test]
fn the_key_of_another_history_opens_nothing() {
    let world = with_a_history();
    sign(&world);
    let other = signer(&world).key().verifier_key("identityd/org_elsewhere");
    let fault = verify(exported(&world), &other, None).unwrap_err();
    assert!(fault.what.contains("the key of another history"), "{fault}");
}

#[test]
fn an_export_ends_where_the_checkpoint_ends() {
    let world = with_a_history();
    let signed = sign(&world).checkpoint.size;
    // The service signs too, so how far the checkpoint is by now is told by the export.
    grow(&world, ["golf"]);
    let (file, trailer) = export_range(&world, &Range::default());
    let report = verify(file, &verifier_key(&world), None).unwrap();
    assert_eq!(report.last, Some(report.checkpoint.size));
    assert!(trailer.last >= Some(signed));
}

#[test]
fn a_long_history_is_verified_across_tiles() {
    let world = World::new();
    let handles: Vec<String> = (0..300).map(|number| format!("agent-{number:03}")).collect();
    for handle in &handles {
        world.admin().create(handle);
    }
    let size = sign(&world).checkpoint.size;
    assert!(size > 300);
    assert_eq!(part(&world, 0, None).events, size);
    assert_eq!(part(&world, 255, None).events, size - 255);
    assert_eq!(part(&world, 256, Some(299)).events, 43);
}

#[test]
fn a_table_has_a_row_for_every_event_and_is_not_taken_for_a_proof() {
    let world = with_a_history();
    let size = sign(&world).checkpoint.size;
    let file = NamedTempFile::new().unwrap();
    let mut table = Table::begin(file.reopen().unwrap()).unwrap();
    let all = Range::default();
    let exporting =
        export::run(world.database().pool(), world.organization_id(), &all, None, &mut table, |_, _| ());
    wait(exporting).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len() as u64, size + 2);
    assert!(lines[0].starts_with("organization_id,organization_sequence,"), "{}", lines[0]);
    assert!(lines[6].contains("identity.description_changed"), "{}", lines[6]);
    assert!(lines[lines.len() - 1].starts_with(r#"trailer,"{""count"":"#), "{text}");
    let fault = verify(file, &verifier_key(&world), None).unwrap_err();
    assert_eq!(fault.what, "a table proves nothing; export the history as ndjson");
}
