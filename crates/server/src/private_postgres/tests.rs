use super::binaries::major_of;
use super::cluster::telling_line;
use super::home::digest;
use std::path::Path;

#[test]
fn versions_of_packages_and_previews_are_read() {
    assert_eq!(major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
    assert_eq!(major_of("postgres (PostgreSQL) 18beta1"), Some(18));
    assert_eq!(major_of("postgres (PostgreSQL)"), None);
    assert_eq!(major_of("postgres (PostgreSQL) devel"), None);
}

#[test]
fn the_reason_of_a_failure_is_found_above_the_hints() {
    let said = "LOG:  starting\nFATAL:  lock file exists\nHINT:  Is another postmaster running?\n\n";
    assert_eq!(telling_line(said), "FATAL:  lock file exists");
    assert_eq!(telling_line("something\nelse\n"), "else");
    assert_eq!(telling_line(""), "");
}

#[test]
fn a_path_has_one_short_digest() {
    let digest_of_a = digest(Path::new("/a"));
    assert_eq!(digest_of_a.len(), 12);
    assert_eq!(digest_of_a, digest(Path::new("/a")));
    assert_ne!(digest_of_a, digest(Path::new("/b")));
}
