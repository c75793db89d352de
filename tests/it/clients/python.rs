//! Published Python clients, unmodified. `session.py` makes every call that a release has, and checks its effect or the
//! error. `.ci/published-clients` installs the releases.

use std::path::{Path, PathBuf};
use std::process::Command;

use identityd_tests::skip;

use crate::harness::World;

/// The Python interpreter with this release. `None` if it is not installed, which is said.
pub(crate) fn interpreter(release: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = root.join("target/published-clients").join(format!("python-{release}"));
    if !folder.join("installed").exists() {
        skip(&format!("inkbox {release} is not installed here: .ci/published-clients installs it"));
        return None;
    }
    Some(folder.join("bin/python"))
}

fn hold_session(release: &str) {
    let Some(interpreter) = interpreter(release) else { return };
    let world = World::new();
    world.admin().register_secret("mail relay");
    let session = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/clients/session.py");
    let mut command = Command::new(interpreter);
    command.arg(session).args([world.base_url(), world.admin_key(), release]);
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1").env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "inkbox {release}: {said}{failed}");
    assert!(said.contains("steps"), "inkbox {release} did not come to the end: {said}");
}

#[test]
fn the_last_release_with_visibility() {
    hold_session("0.5.12");
}

#[test]
fn the_first_release_with_call_forwarding() {
    hold_session("0.6.3");
}

#[test]
fn the_first_release_with_modes_by_direction() {
    hold_session("0.7.3");
}

#[test]
fn the_newest_release() {
    hold_session("0.7.20");
}
