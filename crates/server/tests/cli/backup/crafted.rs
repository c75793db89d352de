//! Files with right hashes that no identityd has written.

use std::fs;

use sha2::{Digest as _, Sha256};

use crate::backup::estate::{Estate, error, execute, text};
use crate::harness::{Place, bare, run, through_shell};

/// The section of phone numbers, and what else is in a backup.
const NUMBERS: &str = "phone_number_pool";
const OTHERS: [&str; 5] =
    ["log_head", "organization_heads", "signing_key_introductions", "checkpoints", "events"];

/// A backup whose sections are empty but for that of `table`, which has these columns, and one block of so many rows.
fn crafted(table: &str, columns: &str, block: &[u8], rows: u64) -> Vec<u8> {
    let count = |name: &str| format!(r#""{name}":{}"#, if name == table { rows } else { 0 });
    let counts: Vec<String> = OTHERS.into_iter().chain([NUMBERS]).map(count).collect();
    let head = format!(
        r#"{{"backup":{{"format":1,"software":"0.1.0","taken_at":"","migrations":[],"organizations":0,"events":0,"rows":{{{}}}}}}}"#,
        sorted(counts).join(",")
    );
    let mut file = vec![];
    let mut lines = vec![];
    let mut add = |line: String, file: &mut Vec<u8>| {
        lines.extend_from_slice(line.as_bytes());
        lines.push(b'\n');
        file.extend_from_slice(line.as_bytes());
        file.push(b'\n');
    };
    add(head, &mut file);
    for name in OTHERS.into_iter().chain([NUMBERS]) {
        let (columns, block, rows) =
            if name == table { (columns, block, rows) } else { (r#"[["id","bigint"]]"#, &[][..], 0) };
        add(format!(r#"{{"section":{{"table":"{name}","columns":{columns}}}}}"#), &mut file);
        let mut blocks = vec![];
        if !block.is_empty() {
            blocks.extend_from_slice(&u32::try_from(block.len()).unwrap().to_be_bytes());
            blocks.extend_from_slice(block);
        }
        blocks.extend_from_slice(&[0; 4]);
        file.extend_from_slice(&blocks);
        let (bytes, hash) = (blocks.len(), format!("{:x}", Sha256::digest(&blocks)));
        add(format!(r#"{{"section_end":{{"rows":{rows},"bytes":{bytes},"sha256":"{hash}"}}}}"#), &mut file);
    }
    let hash = format!("{:x}", Sha256::digest(&lines));
    file.extend_from_slice(
        format!("{{\"backup_end\":{{\"sections\":6,\"sha256\":\"{hash}\"}}}}\n").as_bytes(),
    );
    file
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

/// A row of `events` with this payload.
fn event_row(payload: &[u8]) -> (String, Vec<u8>) {
    let (one, text) = (1_i64.to_be_bytes(), b"a".to_vec());
    let columns = [
        ("position", "bigint", one.to_vec()),
        ("organization_id", "text", text.clone()),
        ("organization_sequence", "bigint", one.to_vec()),
        ("aggregate_type", "text", text.clone()),
        ("aggregate_id", "text", text.clone()),
        ("sequence", "bigint", one.to_vec()),
        ("event_type", "text", text.clone()),
        ("event_version", "text", text),
        ("recorded_at", "timestamp with time zone", one.to_vec()),
        ("payload", "jsonb", [b"\x01", payload].concat()),
        ("metadata", "jsonb", b"\x01{}".to_vec()),
        ("leaf_hash", "bytea", vec![0; 32]),
    ];
    let mut row = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for (_, _, value) in &columns {
        row.extend_from_slice(&i32::try_from(value.len()).unwrap().to_be_bytes());
        row.extend_from_slice(value);
    }
    let names: Vec<String> =
        columns.iter().map(|(name, kind, _)| format!(r#"["{name}","{kind}"]"#)).collect();
    (format!("[{}]", names.join(",")), row)
}

/// As a tree, the payload would need 3 GB.
#[test]
fn an_event_of_many_small_objects_takes_little_memory() {
    let place = Place::new();
    let payload = [br#"{"a":["#.as_slice(), &br#"{"":0},"#.repeat(4_600_000), b"0]}"].concat();
    let (columns, row) = event_row(&payload);
    let file = place.path("crafted");
    fs::write(&file, crafted("events", &columns, &row, 1)).unwrap();
    let verify = bare(&["backup", "verify", text(&file)]);
    let verified = run(&mut through_shell(&verify, r#"ulimit -v 3000000; exec "$0" "$@""#));
    assert!(
        error(&verified).contains("the backup has 1 events, its head of the log says 0"),
        "{}",
        verified.stderr
    );
}

#[test]
fn a_crafted_file_is_refused_before_much_memory_is_used() {
    let place = Place::new();
    let verify = |content: Vec<u8>| {
        let file = place.path("crafted");
        fs::write(&file, content).unwrap();
        run(&mut bare(&["backup", "verify", text(&file)]))
    };
    let (column, row) = (r#"[["id","bigint"]]"#, b"\0\x01\0\0\0\x08\0\0\0\0\0\0\0\x01");
    verify(crafted(NUMBERS, column, &row.repeat(2), 2)).succeeded();
    let without = verify(crafted(NUMBERS, "[]", b"\0\0", 1));
    assert!(error(&without).ends_with("has no columns"), "{}", without.stderr);
    let long = verify(crafted(NUMBERS, column, &row.repeat(100_000), 100_000));
    assert!(error(&long).ends_with("has more rows than any that is written"), "{}", long.stderr);
}

#[test]
fn a_moment_before_the_year_1_is_refused() {
    let estate = Estate::new();
    execute(
        &estate.place,
        "set session_replication_role = replica;
         update events set recorded_at = '0002-01-01 00:00+00 BC' where position = 1",
    );
    let file = estate.backup("backup");
    let refused = run(&mut bare(&["backup", "verify", text(&file)]));
    assert!(
        refused.stdout.contains("recorded_at of a row of events in the backup is no moment"),
        "{}",
        refused.stdout
    );
    error(&refused);
}

#[test]
fn an_event_without_canonical_form_is_named() {
    let estate = Estate::new();
    execute(
        &estate.place,
        r#"set session_replication_role = replica;
           update events set metadata = metadata || '{"n": 1e400}' where organization_sequence = 2"#,
    );
    let file = estate.backup("backup");
    let refused = run(&mut bare(&["backup", "verify", text(&file)]));
    let says = |text: &str| refused.stdout.contains(text);
    assert!(
        says("fault in the history of org_") && says("event 2 has no canonical form"),
        "{}",
        refused.stdout
    );
    error(&refused);
    // What is signed is not read again: with a new epoch the signer meets the event.
    let begun = estate.place.run(&["audit", "new-epoch", "--org", "acme"]);
    assert!(begun.error().contains("event 2 cannot be hashed"), "{}", begun.stderr);
    let export = estate.place.run(&["audit", "export", "--org", "acme"]);
    assert!(export.error().contains("event 2 cannot be exported"), "{}", export.stderr);
}
