//! The vault and webhook subscriptions, used by published Python clients, unmodified.

use std::path::Path;
use std::process::Command;

use super::python::interpreter;
use crate::harness::World;

/// The oldest and the newest tested release of the Python client.
const RELEASES: [&str; 2] = ["0.5.12", "0.7.20"];

/// Runs a script with a release of the client against a new service.
fn runs(script: &str, release: &str) {
    let Some(interpreter) = interpreter(release) else { return };
    let world = World::new();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/clients").join(script);
    let mut command = Command::new(interpreter);
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

// Contract, section 10.6. Scenario 56.
#[test]
fn the_flow_of_webhook_subscriptions_works() {
    for release in RELEASES {
        runs("webhook_flow.py", release);
    }
}
