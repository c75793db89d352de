//! The replacement of the signing key.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{Place, run};

#[test]
fn the_signing_key_is_replaced_while_nothing_runs() {
    let place = Place::served();
    let service = place.serve();
    place.run(&["org", "create", "acme"]).succeeded();
    let key = place.data_dir().join("signing/key");
    let old = fs::read_to_string(&key).unwrap();
    let busy = place.run(&["audit", "rotate-key"]);
    assert!(busy.error().contains("stop every process of it first"), "{}", busy.stderr);
    service.stop();
    let said = place.run(&["audit", "rotate-key"]).succeeded().stdout;
    assert!(said.starts_with("the new key has signed 1 logs\nkey identityd+"), "{said}");
    let new = fs::read_to_string(&key).unwrap();
    assert!(new != old && !said.contains(new.trim()), "{said}");
    let late = run(place
        .command(&["serve", "--listen", "127.0.0.1:0"])
        .env("IDENTITYD_SIGNING_KEY", old.trim())
        .env("RUST_LOG", "off"));
    assert!(late.error().contains("this signing key was replaced"), "{}", late.stderr);
    let next = place.file("next", &old);
    let given = place.run(&["audit", "rotate-key", "--next-key-file", next.to_str().unwrap()]);
    assert!(given.error().contains("leave --next-key-file out"), "{}", given.stderr);
    let unset = run(place.command(&["audit", "rotate-key"]).env("IDENTITYD_SIGNING_KEY", new.trim()));
    assert!(unset.error().contains("give the next one with --next-key-file"), "{}", unset.stderr);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let unsaid = run(place.command(&["audit", "rotate-key"]).stdout(full));
    assert!(unsaid.error().starts_with("the signing key was replaced by identityd+"), "{}", unsaid.stderr);
    place.serve().stop();
}

#[test]
fn a_service_without_the_key_of_the_history_does_not_start_and_makes_none() {
    let place = Place::served();
    let service = place.serve();
    place.run(&["org", "create", "acme"]).succeeded();
    service.stop();
    let key = place.data_dir().join("signing/key");
    let other = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
    let refused = run(place
        .command(&["serve", "--listen", "127.0.0.1:0"])
        .env("IDENTITYD_SIGNING_KEY", other)
        .env("RUST_LOG", "off"));
    assert!(refused.error().contains("sealed with another key than the one given"), "{}", refused.stderr);
    fs::remove_file(&key).unwrap();
    for command in [
        &["serve", "--listen", "127.0.0.1:0"][..],
        &["audit", "new-epoch", "--org", "acme"],
        &["org", "create", "other"],
    ] {
        let refused = run(place.command(command).env("RUST_LOG", "off"));
        assert!(refused.error().contains("there is no signing key in"), "{command:?}: {}", refused.stderr);
        assert!(!key.exists(), "{command:?}");
    }
    // docs/proof.md, "A lost signing key".
    fs::write(&key, other).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    place.run(&["audit", "new-epoch", "--org", "acme"]).succeeded();
    place.serve().stop();
}

#[test]
fn the_doctor_names_a_key_with_which_no_service_starts() {
    let place = Place::served();
    let service = place.serve();
    place.run(&["org", "create", "acme"]).succeeded();
    service.stop();
    place.run(&["doctor"]).succeeded();
    let has_line = |text: &str, start: &str| text.lines().any(|line| line.starts_with(start));
    let other = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
    let checked = run(place.command(&["doctor"]).env("IDENTITYD_SIGNING_KEY", other));
    let wrong = "FAILED  writes: the history of this database is sealed with another key than the one given";
    assert!(!checked.status.success() && has_line(&checked.stdout, wrong), "{}", checked.stdout);

    let signing = place.data_dir().join("signing");
    fs::rename(&signing, place.path("kept")).unwrap();
    let checked = place.run(&["doctor"]);
    let missing = format!("FAILED  writes: there is no signing key in {}", signing.display());
    assert!(!checked.status.success() && has_line(&checked.stdout, &missing), "{}", checked.stdout);
    assert!(
        has_line(&checked.stdout, "ok      signer_memory: this host remembers nothing"),
        "{}",
        checked.stdout
    );
    assert!(!signing.exists());
    fs::rename(place.path("kept"), &signing).unwrap();
    place.run(&["doctor"]).succeeded();
}

/// docs/proof.md, "A lost signing key", after a rotation, which names the key that seals. The memory in `signing/` is lost as well.
#[test]
fn a_service_writes_with_a_new_key_after_a_replaced_one_was_lost() {
    let place = Place::served();
    let service = place.serve();
    place.run(&["org", "create", "acme"]).succeeded();
    place.run(&["org", "create", "other"]).succeeded();
    service.stop();
    place.run(&["audit", "rotate-key"]).succeeded();
    let signing = place.data_dir().join("signing");
    let key = fs::read_to_string(signing.join("key")).unwrap();
    let new = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
    let service = place.serve();
    let wrong =
        run(place.command(&["audit", "new-epoch", "--org", "acme"]).env("IDENTITYD_SIGNING_KEY", new));
    assert!(wrong.error().contains("stop every process of it first"), "{}", wrong.stderr);
    service.stop();
    fs::remove_dir_all(&signing).unwrap();
    // The memory alone is lost: it may know more than the database.
    let begin = |key: &str, org: &str| {
        run(place.command(&["audit", "new-epoch", "--org", org]).env("IDENTITYD_SIGNING_KEY", key.trim()))
    };
    let forgetful = begin(&key, "acme");
    assert!(forgetful.error().contains("the memory of the signer is empty"), "{}", forgetful.stderr);
    fs::create_dir_all(&signing).unwrap();
    fs::set_permissions(&signing, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(signing.join("key"), new).unwrap();
    fs::set_permissions(signing.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    for org in ["acme", "other"] {
        place.run(&["audit", "new-epoch", "--org", org]).succeeded();
    }
    let service = place.serve();
    place.run(&["org", "create", "third"]).succeeded();
    service.stop();
}
