//! Files with right hashes that no identityd has written.

use std::fs;

use sha2::{Digest as _, Sha256};

use crate::backup::estate::{Estate, error, execute, text};
use crate::harness::{Place, bare, run};

/// A backup without events. The section of phone numbers has these columns, and one block of so many rows.
fn crafted(columns: &str, block: &[u8], rows: u64) -> Vec<u8> {
    let head = format!(
        r#"{{"backup":{{"format":1,"software":"0.1.0","taken_at":"","migrations":[],"organizations":0,"events":0,"rows":{{"checkpoints":0,"events":0,"log_head":0,"organization_heads":0,"phone_number_pool":{rows},"signing_key_introductions":0}}}}}}"#
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
    let needed = ["log_head", "organization_heads", "signing_key_introductions", "checkpoints", "events"];
    let sections = needed.map(|table| (table, r#"[["id","bigint"]]"#, &[][..], 0));
    for (table, columns, block, rows) in
        sections.into_iter().chain([("phone_number_pool", columns, block, rows)])
    {
        add(format!(r#"{{"section":{{"table":"{table}","columns":{columns}}}}}"#), &mut file);
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

#[test]
fn a_crafted_file_is_refused_before_much_memory_is_used() {
    let place = Place::new();
    let verify = |content: Vec<u8>| {
        let file = place.path("crafted");
        fs::write(&file, content).unwrap();
        run(&mut bare(&["backup", "verify", text(&file)]))
    };
    let (column, row) = (r#"[["id","bigint"]]"#, b"\0\x01\0\0\0\x08\0\0\0\0\0\0\0\x01");
    verify(crafted(column, &row.repeat(2), 2)).succeeded();
    let without = verify(crafted("[]", b"\0\0", 1));
    assert!(error(&without).ends_with("has no columns"), "{}", without.stderr);
    let long = verify(crafted(column, &row.repeat(100_000), 100_000));
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
    assert!(error(&refused).contains("is before the year 1"), "{}", refused.stderr);
}
