//! What tests of several packages share. The tests of the service are in `it`.

pub mod etcd;

use std::io::Write as _;

/// Says that a test is left out on this machine, and why. In CI this is a failure, unless `CI_MAY_SKIP` is set: `.ci/skip` is the
/// same for scripts.
///
/// # Panics
///
/// In CI.
#[expect(
    clippy::disallowed_methods,
    reason = "CI and CI_MAY_SKIP are settings of the tests and not of the service"
)]
pub fn skip(why: &str) {
    // Not with `eprintln!`, which the test harness keeps back where a test passes.
    let said = writeln!(std::io::stderr().lock(), "skipped: {why}");
    assert!(said.is_ok(), "standard error is closed");
    let must_run = std::env::var_os("CI").is_some_and(|ci| ci == "true")
        && std::env::var_os("CI_MAY_SKIP").is_none_or(|value| value.is_empty());
    assert!(!must_run, "CI must not skip this, unless CI_MAY_SKIP is set: {why}");
}
