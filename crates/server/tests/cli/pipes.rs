//! Files that are pipes. Nobody writes to them, so a command that opened or read one would wait for ever.

use std::process::Command;

use identity_proof::SigningKey;

use crate::harness::{Place, bare, run_to_end};

#[test]
fn no_command_waits_for_a_pipe() {
    let place = Place::new();
    let pipe = place.path("pipe");
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
    let pipe = pipe.to_str().unwrap();
    let key = SigningKey::from_seed(&[7; 32]).verifier_key("identityd/acme");
    for arguments in [
        &["audit", "verify", pipe, "--key", &key][..],
        &["audit", "verify", "export", "--key", &key, "--previous", pipe],
        &["audit", "replay", pipe, "--identity", "front-desk"],
        &["backup", "verify", pipe],
        &["numbers", "load", pipe],
        &["org", "list", "--config", pipe],
    ] {
        let refused = run_to_end(&mut bare(arguments));
        assert_eq!(refused.error(), format!("cannot read {pipe}: it is not a regular file"), "{arguments:?}");
    }
    let listen = ["serve", "--listen", "127.0.0.1:0"];
    for flags in [
        &["--tls-certificate", pipe, "--tls-key", pipe][..],
        &["--signing-key-file", pipe],
        &["--secrets-key-file", pipe],
        &["--webhook-ca-file", pipe],
    ] {
        let refused = run_to_end(&mut place.command(&[&listen, flags].concat()));
        assert!(refused.stderr.contains("it is not a regular file"), "{flags:?}: {}", refused.stderr);
    }
}
