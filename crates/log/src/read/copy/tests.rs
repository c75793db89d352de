use super::{CopyReader, CopyRow, CopyWriter, moment};
use time::macros::datetime;
use uuid::Uuid;

fn written() -> Vec<u8> {
    let mut writer = CopyWriter::default();
    writer.row(4);
    writer.text("one");
    writer.bigint(-7);
    writer.timestamp(datetime!(2026-01-02 03:04:05.678901 UTC));
    writer.null();
    writer.row(1);
    writer.uuid(Uuid::from_u128(9));
    writer.end()
}

#[test]
fn what_was_written_reads_back_however_it_arrives() {
    for piece in 1..40 {
        let mut reader = CopyReader::default();
        let mut rows = 0;
        for bytes in written().chunks(piece) {
            reader.feed(bytes);
            while let Some(mut row) = reader.next_row().unwrap() {
                rows += 1;
                if rows == 1 {
                    assert_eq!(row.text().unwrap(), "one");
                    assert_eq!(row.bigint().unwrap(), -7);
                    assert_eq!(row.timestamp().unwrap(), datetime!(2026-01-02 03:04:05.678901 UTC));
                    assert_eq!(row.bytes().unwrap(), None);
                    assert!(row.bytes().is_err(), "there is no fifth field");
                }
            }
        }
        assert_eq!(rows, 2, "in pieces of {piece}");
        reader.finish().unwrap();
    }
}

#[test]
fn a_copy_that_stops_is_not_taken_for_a_whole_one() {
    let whole = written();
    for length in 0..whole.len() {
        let mut reader = CopyReader::default();
        reader.feed(&whole[..length]);
        while reader.next_row().unwrap().is_some() {}
        assert!(reader.finish().is_err(), "{length} of {} bytes", whole.len());
    }
}

#[test]
fn another_format_is_refused() {
    let mut reader = CopyReader::default();
    reader.feed(b"a text copy, long enough to hold a header");
    assert!(reader.next_row().is_err());
}

#[test]
fn moments_before_and_after_both_epochs_read_back() {
    for then in [
        datetime!(0001-01-01 00:00:00.000001 UTC),
        datetime!(1969-12-31 23:59:59.999999 UTC),
        datetime!(1999-12-31 23:59:59.000001 UTC),
        datetime!(9999-12-31 23:59:59.999999 UTC),
    ] {
        let mut writer = CopyWriter::default();
        writer.row(1);
        writer.timestamp(then);
        let row = writer.rows().next().unwrap().to_vec();
        assert_eq!(CopyRow::written(&row).timestamp().unwrap(), then);
    }
}

#[test]
fn a_moment_that_never_comes_is_refused() {
    for never in [i64::MAX, i64::MAX - 1, i64::MIN] {
        assert!(moment(&never.to_be_bytes()).is_err());
    }
}
