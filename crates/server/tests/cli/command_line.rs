//! Settings, exit codes, and what is printed.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use crate::harness::{Finished, Place, Serving, bare, eventually, run, run_to_end, signal};

/// A port that is taken until the listener is dropped.
fn taken() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn refused(url: &str) -> String {
    format!("cannot connect to Postgres at {url}")
}

fn assert_contains(finished: &Finished, part: &str) {
    assert!(finished.error().contains(part), "{}", finished.stderr);
}

#[test]
fn the_address_is_the_flags_or_the_environments_or_the_files() {
    let place = Place::served();
    let ((_a, flag), (_b, environment), (_c, file)) = (taken(), taken(), taken());
    let config = place.file("settings.toml", &format!("listen = \"{file}\"\n"));
    // The error names the address on which the service cannot listen.
    let error = |flags: &[&str], environment: Option<SocketAddr>| {
        let mut command = place.command(&["serve", "--config", config.to_str().unwrap()]);
        command.args(flags).env("RUST_LOG", "off");
        command.envs(environment.map(|address| ("IDENTITYD_LISTEN", address.to_string())));
        run(&mut command).error().to_owned()
    };
    let expected = |address| format!("cannot listen on {address}: Address already in use (os error 98)");
    assert_eq!(error(&[], None), expected(file));
    assert_eq!(error(&[], Some(environment)), expected(environment));
    assert_eq!(error(&["--listen", &flag.to_string()], Some(environment)), expected(flag));
    assert_eq!(place.postmaster(), None);
}

#[test]
fn the_database_is_the_flags_or_the_environments_or_the_files() {
    let place = Place::new();
    let config = place.file("settings.toml", "database_url = 'postgres://user@127.0.0.1:1/x'\n");
    let config = config.to_str().unwrap();
    let environment = "postgres://user@127.0.0.1:2/x";
    let flag = "postgres://user@127.0.0.1:3/x";

    let only_file = run(&mut bare(&["migrate", "--config", config]));
    assert_contains(&only_file, &refused("127.0.0.1:1"));
    let with_environment = run(bare(&["migrate", "--config", config]).env("DATABASE_URL", environment));
    assert_contains(&with_environment, &refused("127.0.0.1:2"));
    // The flag may stand before or after the name of the command.
    for arguments in [["migrate", "--database-url", flag], ["--database-url", flag, "migrate"]] {
        let mut command = bare(&arguments);
        let finished = run(command.args(["--config", config]).env("DATABASE_URL", environment));
        assert_contains(&finished, &refused("127.0.0.1:3"));
    }
}

#[test]
fn the_data_directory_may_come_from_the_environment() {
    let place = Place::new();
    let other = place.data_dir().with_file_name("other");
    run(bare(&["migrate"]).env("IDENTITYD_DATA_DIR", place.data_dir())).succeeded();
    assert!(place.postgres().exists());
    run(place.command(&["migrate"]).env("IDENTITYD_DATA_DIR", &other)).succeeded();
    assert!(!other.exists());
}

#[test]
fn bad_settings_are_named_before_anything_is_started() {
    let place = Place::new();
    let config = place.file("settings.toml", "\nmail_domian = 'a.example'\n");
    let finished = place.run(&["serve", "--config", config.to_str().unwrap()]);
    assert_contains(&finished, "line 2: unknown field `mail_domian`");
    assert_contains(
        &place.run(&["serve", "--config", "/nonexistent.toml"]),
        "cannot read /nonexistent.toml: No such file",
    );
    let finished = run(place.command(&["serve"]).env("IDENTITYD_TUNNEL_ZONE", "Not A Domain"));
    assert_contains(&finished, "tunnel_zone is \"Not A Domain\"");
    assert_contains(&run(place.command(&["migrate"]).env("RUST_LOG", "a=b=c")), "RUST_LOG is not valid");
    assert!(!place.data_dir().exists());
}

#[test]
fn settings_of_webhooks_that_do_not_fit_are_named_before_anything_is_started() {
    let place = Place::new();
    let empty = place.file("empty.pem", "no certificate");
    let missing = place.path("missing.pem");
    for (flag, value, expected) in [
        (
            "--webhook-retention-days",
            "1",
            "webhook_retention_days is shorter than the attempts of webhook_retry_delays can take: set at least 3 days, or \
             shorter delays"
                .to_owned(),
        ),
        (
            "--webhook-ca-file",
            missing.to_str().unwrap(),
            format!("webhook_ca_file {} cannot be read: ", missing.display()),
        ),
        (
            "--webhook-ca-file",
            empty.to_str().unwrap(),
            format!("webhook_ca_file {} has no certificate in PEM", empty.display()),
        ),
    ] {
        let finished = run_to_end(&mut place.command(&["serve", flag, value]));
        assert!(finished.error().starts_with(&expected), "{}", finished.stderr);
    }
    assert!(!place.data_dir().exists());
}

#[test]
fn a_mistake_in_the_command_line_is_exit_code_two() {
    for arguments in [
        &[][..],
        &["dance"],
        &["serve", "--listen", "nowhere"],
        &["key", "issue", "--org", "demo"],
        &["key", "issue", "--org", "demo", "--label", "l", "--expires-in", "soon"],
        &["key", "issue", "--org", "demo", "--label", "l", "--expires-at", "2035-01-01"],
        &[
            "key",
            "issue",
            "--org",
            "demo",
            "--label",
            "l",
            "--expires-in",
            "1d",
            "--expires-at",
            "2035-01-01T00:00:00Z",
        ],
        &["key", "rotate", "ApiKey_00000000-0000-4000-8000-000000000000", "--overlap", "-1h"],
        &["key", "issue", "--org", "demo", "--label", "l", "--scope", "agent"],
        &["key", "issue", "--org", "demo", "--label", "l", "--scope", "admin", "--identity", "desk"],
        &["key", "issue", "--org", "demo", "--label", "l", "--scope", "auditor", "--identity", "desk"],
        &["audit", "replay", "history.ndjson", "--org", "demo", "--identity", "desk"],
        &["projections", "verify", "identities", "--all"],
        &["numbers", "load"],
        &["migrate", "--database-url", ""],
    ] {
        let finished = run(&mut bare(arguments));
        assert_eq!(finished.status.code(), Some(2), "{arguments:?}: {}", finished.stderr);
        assert_eq!(finished.stdout, "");
    }
    assert_eq!(run(bare(&["serve"]).env("IDENTITYD_NAME_HOLD_DAYS", "-1")).status.code(), Some(2));
}

#[test]
fn help_and_version_are_no_mistakes() {
    assert!(run(&mut bare(&["--help"])).succeeded().stdout.contains("doctor"));
    let version = format!("identityd {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&mut bare(&["--version"])).succeeded().stdout, version);
}

#[test]
fn a_password_is_never_printed() {
    let place = Place::new();
    let urls = [
        "postgres://user:hunter2@127.0.0.1:1/x",
        "postgres://user:hunter2@[127/x",
        "postgres://user:hunter2@h:port/x",
    ];
    for url in urls {
        let config = place.file("settings.toml", &format!("database_url = {url}\n"));
        for mut command in [
            bare(&["doctor", "--database-url", url]),
            bare(&["migrate", "--database-url", url]),
            bare(&["serve", "--help"]),
            bare(&["migrate", "--config", config.to_str().unwrap()]),
        ] {
            let finished = run(command.env("DATABASE_URL", url).env("RUST_LOG", "debug"));
            let printed = finished.stdout + &finished.stderr;
            assert!(!printed.contains("hunter2"), "{printed}");
        }
    }
}

#[test]
fn the_doctor_finds_a_new_database_ill_and_a_served_one_well() {
    let place = Place::new();
    place.run(&["migrate"]).succeeded();
    let finished = place.run(&["doctor"]);
    assert_eq!(finished.error(), "1 of 34 checks failed");
    let lines: Vec<&str> = finished.stdout.lines().map(|line| line.split(':').next().unwrap()).collect();
    let expected = [
        "ok      reachable",
        "ok      postgres_version",
        "ok      migrations",
        "ok      fsync",
        "ok      synchronous_commit",
        "FAILED  free_numbers",
    ];
    assert_eq!(lines[..6], expected);

    let service = place.serve();
    let checks = place.run(&["doctor", "--json"]).succeeded().json();
    assert_eq!(checks["passed"], true);
    assert_eq!(checks["checks"].as_array().unwrap().len(), 34);
    assert!(service.stop().success());
}

#[test]
fn the_doctor_sees_a_weakened_commit_and_a_strange_migration() {
    let place = Place::served();
    let service = place.serve();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = sqlx::PgPool::connect(&place.database_url()).await.unwrap();
        let weaken = "alter role identityd_service set synchronous_commit = off";
        sqlx::query(weaken).execute(&pool).await.unwrap();
        let damage = "update _sqlx_migrations set checksum = '\\x00' where version = 3";
        sqlx::query(damage).execute(&pool).await.unwrap();
        let add = "insert into _sqlx_migrations values (9999, 'later', now(), true, '\\x00', 0)";
        sqlx::query(add).execute(&pool).await.unwrap();
    });
    let finished = place.run(&["doctor"]);
    assert_eq!(finished.error(), "2 of 34 checks failed");
    assert!(finished.stdout.contains("FAILED  synchronous_commit: is off"), "{}", finished.stdout);
    let migrations = "FAILED  migrations: pending [], damaged [3], from a newer identityd [9999]";
    assert!(finished.stdout.contains(migrations), "{}", finished.stdout);
    assert!(service.stop().success());
}

#[test]
fn the_doctor_says_what_keeps_it_from_the_database() {
    let finished = run(&mut bare(&["doctor", "--json", "--database-url", "postgres://user@127.0.0.1:1/x"]));
    assert_eq!(finished.error(), "1 of 2 checks failed");
    let checks = finished.json();
    assert_eq!(checks["checks"][0]["name"], "reachable");
    let finding = checks["checks"][0]["finding"].as_str().unwrap();
    assert!(finding.starts_with(&refused("127.0.0.1:1")), "{finding}");
}

#[test]
fn a_service_that_is_told_to_stop_while_it_starts_leaves_nothing_behind() {
    let place = Place::new();
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut child = command.stderr(Stdio::null()).process_group(0).spawn().unwrap();
    eventually("a cluster is being made", || place.postgres().join("cluster.unfinished").exists());
    // Ctrl+C in a terminal sends the signal to the whole process group.
    signal("INT", &format!("-{}", child.id()));
    assert!(child.wait().unwrap().success());
    assert!(place.postgres().join("cluster").exists());
    assert_eq!(place.postmaster(), None);
}

#[test]
fn a_closed_pipe_is_an_error_and_no_panic() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = bare(&["doctor", "--database-url", "postgres://user@127.0.0.1:1/x"]);
    let output = command.stdout(full).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: cannot write to standard output: No space left"), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_log_can_be_read_by_machines() {
    let place = Place::served();
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    let service = Serving::start(command.stderr(log.reopen().unwrap()));
    assert!(service.stop().success());
    let text = std::fs::read_to_string(log.path()).unwrap();
    assert!(!text.is_empty());
    for line in text.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).unwrap()["level"].is_string(), "{line}");
    }
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let page = run(&mut bare(&["man"])).succeeded().stdout;
    assert!(page.contains(".TH identityd 1"), "{page}");
    assert!(page.contains("DATABASE_URL"), "{page}");
    let folder = tempfile::TempDir::new().unwrap();
    run(bare(&["man", "--output"]).arg(folder.path())).succeeded();
    for command in ["identityd", "identityd-serve", "identityd-projections-rebuild", "identityd-org-create"] {
        let page = std::fs::read_to_string(folder.path().join(format!("{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
}

#[test]
fn shells_are_taught_to_complete() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&mut bare(&["completions", shell])).succeeded().stdout;
        assert!(script.contains("metrics-listen") && script.contains("rebuild"), "{script}");
    }
    assert_eq!(run(&mut bare(&["completions", "nothing"])).status.code(), Some(2));
}

#[test]
fn no_value_of_the_environment_stands_in_the_manual() {
    let mut command = bare(&["man"]);
    let page = run(command.env("DATABASE_URL", "postgres://user:hunter2@host/database")).succeeded().stdout;
    assert!(!page.contains("hunter2"), "{page}");
}

#[test]
fn the_document_is_printed_without_a_database() {
    let printed = run(&mut bare(&["openapi"])).succeeded();
    let document: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(document["paths"]["/api/v1/identities"]["get"].is_object());
    let served = Place::served().serve();
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("{}/openapi.json", served.base())).send().unwrap();
    assert_eq!(answer.json::<serde_json::Value>().unwrap(), document);
}

#[test]
fn the_log_has_one_line_for_a_request_which_names_it() {
    let place = Place::served();
    let log = place.file("log", "");
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    let serving = Serving::start(command.stderr(std::fs::File::options().append(true).open(&log).unwrap()));
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let request = client.get(format!("{}/api/whoami", serving.base())).header("X-Request-Id", "trace-44");
    let answer = request.send().unwrap();
    assert_eq!(answer.headers()["x-request-id"], "trace-44");
    assert_eq!(answer.json::<serde_json::Value>().unwrap()["request_id"], "trace-44");
    assert!(serving.stop().success());
    let logged = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = logged.lines().filter(|line| line.contains("trace-44")).collect();
    assert_eq!(lines.len(), 1, "{logged}");
    let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(line["code"], "unauthorized");
}
