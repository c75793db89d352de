//! Invariants that ARCHITECTURE.md and the crates state, as far as a search of the code finds what would break them.

use std::path::Path;

use super::repository::{files, name, root};

/// Code that would break an invariant.
struct Absence {
    invariant: &'static str,
    /// Where it must not be.
    crates: &'static [&'static str],
    code: &'static [&'static str],
    /// The ends of the names of files that may have it.
    except: &'static [&'static str],
}

const ALL: &[&str] = &[
    "audit",
    "bench",
    "domain",
    "etcd",
    "http",
    "log",
    "postgres",
    "projections",
    "proof",
    "server",
    "terminal",
    "webhooks",
];

const ABSENCES: [Absence; 5] = [
    Absence {
        invariant: "the log speaks no HTTP",
        crates: &["log"],
        code: &["http", "axum", "statuscode", "headermap"],
        except: &[],
    },
    Absence {
        invariant: "no clock, no randomness and no I/O in the domain",
        crates: &["domain", "proof"],
        code: &[
            "instant::",
            "systemtime",
            "now_utc",
            "now_v7",
            "new_v4",
            "rand::",
            "std::fs",
            "tcpstream",
            "udpsocket",
            "sqlx",
            "tokio",
        ],
        except: &["domain/src/examples.rs"],
    },
    Absence {
        invariant: "only settings read the environment; settings.rs lists the exceptions",
        crates: ALL,
        code: &["env::var", "from_env", "watchdog_enabled", "env = \""],
        except: &[
            "settings.rs",
            "settings/postgres.rs",
            "settings/quotas.rs",
            "settings/signer.rs",
            "settings/webhooks.rs",
            "settings/wire.rs",
            "server/src/cli.rs",
            "logging.rs",
            "cli/supervisor.rs",
            "cli/table.rs",
            "postgres/src/binaries.rs",
        ],
    },
    Absence {
        invariant: "only projections and the log write read models",
        crates: &["domain", "http", "proof", "server", "webhooks"],
        code: &[
            "insert into read_model.",
            "update read_model.",
            "delete from read_model.",
            "truncate read_model.",
        ],
        except: &[],
    },
    Absence {
        invariant: "events are never updated or deleted",
        crates: ALL,
        code: &["update events", "delete from events", "truncate events"],
        except: &[],
    },
];

/// Crates from the outermost to the innermost. A crate depends only on crates behind it.
const LAYERS: [&str; 11] = [
    "server",
    "http",
    "webhooks",
    "etcd",
    "projections",
    "log",
    "domain",
    "audit",
    "proof",
    "terminal",
    "postgres",
];

#[test]
fn no_code_breaks_a_stated_invariant() {
    let mut found = vec![];
    for Absence { invariant, crates, code, except } in ABSENCES {
        let sources =
            crates.iter().flat_map(|name| files(&root().join("crates").join(name).join("src"), &["rs"]));
        for file in sources.filter(|file| !is_test(file) && !except.iter().any(|end| file.ends_with(end))) {
            let text = code_of(&file);
            let breaks = code.iter().filter(|code| text.contains(**code));
            found.extend(breaks.map(|code| format!("{}: {code:?}, but {invariant}", name(&file))));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_crate_depends_only_on_crates_further_inside() {
    for (place, layer) in LAYERS.iter().enumerate() {
        let manifest = root().join("crates").join(layer).join("Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        for outer in &LAYERS[..=place] {
            assert!(!manifest.contains(&format!("\nidentity-{outer}")), "{layer} depends on {outer}");
        }
    }
}

fn is_test(file: &Path) -> bool {
    file.iter().any(|part| matches!(part.to_str(), Some("tests" | "tests.rs")))
}

/// The code of a file without comments, in lower case and with single spaces.
fn code_of(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap().to_lowercase();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}
