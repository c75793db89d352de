//! Published Python clients, unmodified: they verify what arrives, list deliveries, and send one again.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::deliveries::{hold_signatures, settings};
use super::receiver::Receiver;
use super::subscribe;
use crate::clients::python::interpreter;
use crate::harness::{World, text};

// Scenario 57.
fn receives(release: &str) {
    let Some(interpreter) = interpreter(release) else { return };
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let alpha = world.agent("alpha");
    let body =
        json!({ "agent_identity_id": alpha.id, "url": receiver.url(), "event_types": ["identity.updated"] });
    let subscription = subscribe(&alpha, &body);
    let arrived = receiver.wait_for(1).pop().unwrap();
    hold_signatures(&arrived, &text(&subscription["signing_key"]));
    let folder = tempfile::tempdir().unwrap();
    let [payload, headers] = ["payload", "headers"].map(|name| folder.path().join(name));
    fs::write(&payload, &arrived.body).unwrap();
    let pairs: serde_json::Map<String, serde_json::Value> =
        arrived.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    fs::write(&headers, serde_json::Value::Object(pairs).to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/webhooks/receives.py");
    let mut command = Command::new(interpreter);
    command.arg(script).args([world.base_url(), &alpha.key, &text(&subscription["signing_key"])]);
    command.arg(&payload).arg(&headers);
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1").env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("done"), "inkbox {release}: {said}{failed}");
    assert_eq!(receiver.wait_for(2).len(), 2);
}

#[test]
fn the_last_release_with_visibility() {
    receives("0.5.12");
}

#[test]
fn the_newest_release() {
    receives("0.7.20");
}
