//! Commands whose signer remembers in etcd what was signed.

use std::fs;
use std::process::Stdio;

use identityd_tests::etcd::Etcd;

use crate::harness::{Finished, Place, Serving, run};

/// Runs a command of this place with this etcd.
fn with(place: &Place, etcd: &Etcd, arguments: &[&str]) -> Finished {
    run(place.command(arguments).env("IDENTITYD_SIGNER_ETCD", etcd.endpoint()))
}

/// Signs all events.
fn serve_once(place: &Place, etcd: &Etcd) {
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("IDENTITYD_SIGNER_ETCD", etcd.endpoint()).stderr(Stdio::null());
    assert!(Serving::start(&mut command).stop().success());
}

#[test]
fn the_doctor_says_which_memory_is_used_and_whether_it_answers() {
    let (Some(mut etcd), Some(empty)) = (Etcd::start(), Etcd::start()) else { return };
    let place = Place::served();
    place.run(&["org", "create", "acme"]).succeeded();
    let said = place.run(&["doctor"]).succeeded().stdout;
    assert!(said.contains("signer_memory: this host remembers what was signed in "), "{said}");
    serve_once(&place, &etcd);
    let said = with(&place, &etcd, &["doctor"]).succeeded().stdout;
    assert!(
        said.contains("signer_memory: all hosts remember what was signed in etcd at http://127.0.0.1:"),
        "{said}"
    );
    let said = with(&place, &empty, &["doctor"]).succeeded().stdout;
    assert!(said.contains("answers, and remembers nothing of this signing key"), "{said}");
    let refused = with(&place, &empty, &["audit", "new-epoch", "--org", "acme"]);
    assert!(refused.error().contains("the memory of the signer is empty"), "{}", refused.stderr);
    let trusted = with(&place, &empty, &["audit", "trust"]).succeeded().stdout;
    assert_eq!(trusted, "1 logs go on from their last checkpoints\n");
    let begun = with(&place, &empty, &["audit", "new-epoch", "--org", "acme"]).succeeded().stdout;
    assert!(begun.starts_with("epoch 2 begins with "), "{begun}");
    etcd.stop();
    let said = with(&place, &etcd, &["doctor"]).stdout;
    assert!(
        said.contains("FAILED  signer_memory: nothing is signed: the memory that all hosts share"),
        "{said}"
    );
    let exported = with(&place, &etcd, &["audit", "export", "--org", "acme"]).succeeded();
    assert!(exported.stderr.contains("the memory of the signer does not answer"), "{}", exported.stderr);
}

#[test]
fn a_restored_backup_is_compared_with_the_memory_in_etcd() {
    let Some(etcd) = Etcd::start() else { return };
    let place = Place::served();
    place.run(&["org", "create", "acme"]).succeeded();
    serve_once(&place, &etcd);
    let backup = place.path("backup");
    let backup = backup.to_str().unwrap();
    place.run(&["backup", backup]).succeeded();
    place.run(&["key", "issue", "--org", "acme", "--label", "another"]).succeeded();
    serve_once(&place, &etcd);
    let restored = restore_elsewhere(&place, &etcd, &["restore", backup, "--nothing-lost"]);
    assert!(restored.contains("were signed; find out which history is the right one"), "{restored}");
    let restored = restore_elsewhere(&place, &etcd, &["restore", backup]);
    assert!(restored.contains("1 logs begin a new epoch"), "{restored}");
}

/// Restores into a new data directory, which has the keys of this place and no memory.
fn restore_elsewhere(place: &Place, etcd: &Etcd, arguments: &[&str]) -> String {
    let new = Place::new();
    fs::create_dir_all(new.data_dir().join("signing")).unwrap();
    for key in ["signing/key", "secrets.key"] {
        fs::copy(place.data_dir().join(key), new.data_dir().join(key)).unwrap();
    }
    with(&new, etcd, arguments).succeeded().stdout
}

#[test]
fn settings_of_etcd_that_do_not_fit_are_named() {
    let place = Place::new();
    for (arguments, why) in [
        (vec!["--signer-etcd-user", "name"], "signer_etcd_user is set and signer_etcd_password_file is not"),
        (vec!["--signer-etcd-key", "file"], "signer_etcd_key is set and signer_etcd_certificate is not"),
        (
            vec!["--signer-etcd-ca-file", "file"],
            "other settings of signer_etcd are set, and signer_etcd is not",
        ),
    ] {
        let said = place.run(&[&["doctor"], arguments.as_slice()].concat());
        assert!(said.error().contains(why), "{}", said.stderr);
    }
    let served = place.run(&["serve", "--signer-etcd", "10.0.0.1:2379"]);
    assert!(
        served.stderr.contains("is no endpoint of etcd, such as http://10.0.0.1:2379"),
        "{}",
        served.stderr
    );
    let empty = place.file("empty.pem", "no certificate");
    let flags = ["--signer-etcd", "https://10.0.0.1:2379", "--signer-etcd-ca-file", empty.to_str().unwrap()];
    let said = place.run(&[&["serve"], &flags[..]].concat());
    assert!(said.stderr.contains("has no certificate in PEM"), "{}", said.stderr);
}
