//! The published Python clients, unmodified, in flows that the Rust client does not have.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::World;

/// The oldest release that is promised, and the newest that was tried.
const RELEASES: [&str; 2] = ["0.5.12", "0.7.20"];

/// The Python that has this release; none where `.ci/published` could not install it.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn python(release: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let python = root.join(format!("target/published/{release}/bin/python"));
    if !python.exists() {
        eprintln!("skipped: inkbox {release} for Python is not installed, see .ci/published");
        return None;
    }
    Some(python)
}

/// Runs a script with a release of the client against a world of its own.
fn runs(script: &str, release: &str) {
    let Some(python) = python(release) else { return };
    let world = World::new();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("it").join(script);
    let mut command = Command::new(python);
    command.arg(script).arg(world.base_url()).args([world.admin_key(), &alpha.key, &bravo.key]);
    command.env_clear().env("NO_PROXY", "127.0.0.1").env("HOME", "/nonexistent");
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{release}: {told}");
}

// Contract, section 10.5.
#[test]
fn the_flow_of_the_vault_works() {
    for release in RELEASES {
        runs("vault_flow.py", release);
    }
}
