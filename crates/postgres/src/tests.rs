use std::cell::RefCell;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::{Binaries, major_of};
use crate::cluster::shared_buffers;
use crate::home::digest;
use crate::space;
use crate::tool::{self, Outcome, telling_line};

fn installed(majors: &[u32]) -> Vec<Binaries> {
    majors.iter().map(|major| Binaries { major: *major, folder: PathBuf::from("/bin") }).collect()
}

#[test]
fn a_new_cluster_gets_the_newest_server() {
    assert_eq!(Binaries::newest_of(installed(&[15, 17, 16])).unwrap().major, 17);
}

#[test]
fn a_missing_server_is_named_with_its_package() {
    let error = Binaries::newest_of(installed(&[])).unwrap_err().to_string();
    assert_eq!(error, "no Postgres server is installed here; install the Debian package `postgresql`");
    let error = Binaries::newest_of(installed(&[12, 13])).unwrap_err().to_string();
    assert_eq!(error, "Postgres 14 or later is needed and 13 is installed; install a newer `postgresql`");
}

#[test]
fn data_of_another_version_is_told_how_to_move() {
    assert_eq!(Binaries::of_major_in(15, installed(&[17, 15])).unwrap().major, 15);
    let error = Binaries::of_major_in(15, installed(&[17, 16, 17])).unwrap_err().to_string();
    let start = "Postgres 15 made the data in this data directory, no other version can open it, and the version that is \
                 installed here is: Postgres 16, 17; install the package `postgresql-15` beside it";
    assert!(error.starts_with(start), "{error}");
    assert!(error.contains("then `identityd postgres upgrade` moves the data"), "{error}");
    assert!(error.contains("`identityd restore FILE` writes a backup into a new data directory"), "{error}");
    let error = Binaries::of_major_in(15, vec![]).unwrap_err().to_string();
    assert!(error.contains("is: none; install the package `postgresql-15`"), "{error}");
    // Only a newer version can take the data over.
    let error = Binaries::of_major_in(18, installed(&[15])).unwrap_err().to_string();
    assert!(!error.contains("upgrade"), "{error}");
}

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
    let said = "PANIC:  could not read\nLOG:  terminated\nFATAL:  the database system is starting up\n";
    assert_eq!(telling_line(said), "PANIC:  could not read");
    assert_eq!(telling_line("something\nelse\n"), "else");
    assert_eq!(telling_line(""), "");
}

#[test]
fn a_program_that_is_given_up_has_ended() {
    let (reader, writer) = std::io::pipe().unwrap();
    let pid = RefCell::new(String::new());
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "echo $$ >&0; exec sleep 60"]).process_group(0).stdin(writer);
    let when_it_runs = || BufReader::new(&reader).read_line(&mut pid.borrow_mut()).is_ok();
    assert_eq!(tool::run(&mut command, when_it_runs).unwrap(), Outcome::GivenUp);
    assert!(!Path::new("/proc").join(pid.borrow().trim()).exists(), "process {} runs on", pid.borrow());
}

#[test]
fn a_path_has_one_short_digest() {
    let digest_of_a = digest(Path::new("/a"));
    assert_eq!(digest_of_a.len(), 12);
    assert_eq!(digest_of_a, digest(Path::new("/a")));
    assert_ne!(digest_of_a, digest(Path::new("/b")));
}

#[test]
fn a_cluster_takes_a_quarter_of_the_memory_within_bounds() {
    assert_eq!(shared_buffers(Some(2048)), 512);
    assert_eq!(shared_buffers(Some(24_576)), 1024);
    assert_eq!(shared_buffers(Some(256)), 128);
    assert_eq!(shared_buffers(None), 128);
}

#[test]
fn free_room_is_read_whatever_the_file_system_is_called() {
    let printed =
        "Filesystem     1024-blocks      Used Available Capacity Mounted on\n/dev/vda  264 66 30 69% /\n";
    assert_eq!(space::kilobytes(printed), Some(30));
    assert_eq!(space::kilobytes("Filesystem ...\nmap auto home 264 66 30 69% /home of all\n"), Some(30));
    assert_eq!(space::kilobytes(""), None);
}
