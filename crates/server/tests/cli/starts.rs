//! Starting and stopping under difficult conditions: a strict umask, a closed folder, a signal while Postgres starts,
//! symbolic links of another account, a wrong folder.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use identity_postgres::PrivatePostgres;

use crate::harness::{Finished, Place, Serving, bare, eventually, is_root, run, signal};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

/// A command with this umask.
fn under_umask(place: &Place, umask: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    let inner = place.command(arguments);
    command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
    command.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[test]
fn a_first_start_works_under_any_umask() {
    for umask in ["027", "077", "000"] {
        let mut place = Place::new();
        place.set_data_dir("a/b/data");
        let mut command = under_umask(&place, umask, &["serve", "--listen", "127.0.0.1:0"]);
        assert!(Serving::start(command.stderr(Stdio::null())).stop().success());
        assert_eq!(mode(&place.data_dir().join("signing")), 0o700, "umask {umask}");
        assert_eq!(mode(&place.data_dir().join("signing/key")), 0o600, "umask {umask}");
        assert_eq!(mode(&place.postgres()), 0o700, "umask {umask}");
        assert_eq!(mode(place.data_dir()), 0o711, "umask {umask}");
        // An account that may use the server can still use it.
        place.run(&["org", "list"]).succeeded();
    }
}

#[test]
fn as_root_a_first_start_below_a_closed_folder_works_under_a_strict_umask() {
    if !is_root() {
        return;
    }
    let place = Place::with_mode(0o700);
    run(&mut under_umask(&place, "077", &["migrate"])).succeeded();
    assert!(fs::read_link(place.postgres()).unwrap().starts_with("/var/lib/identityd"));
}

#[test]
fn as_root_a_folder_that_was_closed_later_is_named_with_the_way_out() {
    if !is_root() {
        return;
    }
    let place = Place::served();
    let closed = place.data_dir().parent().unwrap();
    fs::set_permissions(closed, Permissions::from_mode(0o700)).unwrap();
    let finished = place.run(&["migrate"]);
    fs::set_permissions(closed, Permissions::from_mode(0o755)).unwrap();
    let closed = closed.display();
    let expected = format!(
        "the account that runs Postgres cannot enter {closed}: let it pass with `chmod o+x {closed}`, or choose another \
         data directory with --data-dir"
    );
    assert_eq!(finished.error(), expected);
}

/// Commands that need an existing database.
fn operators_commands(file: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["org", "list"],
        vec!["key", "list", "--org", "a"],
        vec!["key", "issue", "--org", "a", "--label", "l"],
        vec!["key", "revoke", "ApiKey_00000000-0000-4000-8000-000000000000"],
        vec!["key", "rotate", "ApiKey_00000000-0000-4000-8000-000000000000"],
        vec!["identity", "list", "--org", "a"],
        vec!["identity", "show", "h", "--org", "a"],
        vec!["access", "list", "h", "--org", "a"],
        vec!["access", "grant", "h", "--org", "a", "--viewer", "v"],
        vec!["access", "grant-everyone", "h", "--org", "a"],
        vec!["access", "revoke", "h", "--org", "a", "--viewer", "v"],
        vec!["numbers", "load", file],
        vec!["projections", "status"],
        vec!["projections", "verify"],
        vec!["projections", "rebuild", "--all"],
        vec!["projections", "cutover", "--all"],
        vec!["projections", "rollback", "identities"],
        vec!["audit", "export", "--org", "a"],
        vec!["audit", "replay", "--org", "a", "--identity", "h"],
        vec!["audit", "new-epoch", "--org", "a"],
        vec!["audit", "rotate-key"],
    ]
}

#[test]
fn a_command_in_the_wrong_folder_makes_no_database_and_says_so() {
    let place = Place::new();
    let file = place.file("numbers", "+12125550100 NY\n");
    for arguments in operators_commands(file.to_str().unwrap()) {
        let finished = place.run(&arguments);
        let error = finished.error();
        assert!(error.contains("there is no database in "), "{arguments:?}: {error}");
        assert!(error.contains("--data-dir"), "{arguments:?}: {error}");
        assert!(!place.data_dir().exists(), "{arguments:?}");
    }
    let checked = place.run(&["doctor"]);
    assert_eq!(checked.error(), "1 of 2 checks failed");
    assert!(checked.stdout.contains("there is no database in "), "{}", checked.stdout);
    assert!(!place.data_dir().exists());
}

#[test]
fn a_command_on_somebody_elses_database_makes_no_tables_and_says_so() {
    let place = Place::new();
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    let file = place.file("numbers", "+12125550100 NY\n");
    for arguments in operators_commands(file.to_str().unwrap()) {
        let finished = run(bare(&arguments).args(["--database-url", &postgres.url()]));
        let error = finished.error();
        assert!(error.contains("this database has no tables of identityd"), "{arguments:?}: {error}");
    }
    postgres.close().unwrap();
}

#[test]
fn sighup_stops_a_service_that_has_nothing_to_reload() {
    let place = Place::served();
    let mut serving = place.serve();
    signal("HUP", &serving.pid().to_string());
    assert!(serving.wait().success());
    assert_eq!(place.postmaster(), None);
}

#[test]
fn a_service_under_nohup_outlives_its_terminal() {
    let place = Place::served();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_identityd"), "serve"]);
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(place.data_dir()).stderr(Stdio::null());
    let serving = Serving::start(&mut command);
    signal("HUP", &serving.pid().to_string());
    let answer = reqwest::blocking::get(format!("{}/healthz", serving.base())).unwrap();
    assert_eq!(answer.status(), 200);
    assert!(serving.stop().success());
}

#[test]
fn a_closed_terminal_stops_the_service_and_its_postgres() {
    for with_tls in [false, true] {
        let place = Place::served();
        let mut line = format!(
            "exec {} serve --listen 127.0.0.1:0 --data-dir {} ",
            env!("CARGO_BIN_EXE_identityd"),
            place.data_dir().display()
        );
        if with_tls {
            let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
            let chain = place.file("certificate.pem", &certificate.cert.pem());
            let key = place.file("key.pem", &certificate.signing_key.serialize_pem());
            line = format!("{line} --tls-certificate {} --tls-key {}", chain.display(), key.display());
        }
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &line, "/dev/null"]).env("RUST_LOG", "off").stdin(Stdio::null());
        let mut terminal = terminal.stdout(Stdio::piped()).spawn().unwrap();
        let mut listening = String::new();
        BufReader::new(terminal.stdout.take().unwrap()).read_line(&mut listening).unwrap();
        let address = listening.trim_end().rsplit('/').next().unwrap().to_owned();
        TcpStream::connect(&address).unwrap();
        terminal.kill().unwrap();
        terminal.wait().unwrap();
        eventually("the service has stopped", || TcpStream::connect(&address).is_err());
        eventually("its Postgres has stopped", || place.postmaster().is_none());
    }
}

/// A place whose Postgres takes half a minute to start, since it waits for a slow archive.
pub(crate) fn slow_to_start() -> Place {
    let place = Place::served();
    let cluster = place.postgres().join("cluster");
    let owner = fs::metadata(&cluster).unwrap();
    let signal = cluster.join("recovery.signal");
    File::create(&signal).unwrap();
    chown(&signal, Some(owner.uid()), Some(owner.gid())).unwrap();
    let mut configuration = OpenOptions::new().append(true).open(cluster.join("postgresql.conf")).unwrap();
    configuration.write_all(b"restore_command = 'sleep 30; false'\n").unwrap();
    place
}

/// Starts a command, and tells it to stop while Postgres is starting.
fn told_while_postgres_starts(place: &Place, arguments: &[&str], name: &str) -> Finished {
    let mut command = place.command(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("Postgres is starting", || place.postmaster().is_some());
    signal(name, &child.id().to_string());
    ends_in_time(&mut child);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Finished { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

pub(crate) fn ends_in_time(child: &mut Child) {
    let told = Instant::now();
    eventually("the process has ended", || child.try_wait().unwrap().is_some());
    assert!(told.elapsed() < Duration::from_secs(10), "took {:?} to stop", told.elapsed());
}

/// Whether a process has a file of this name open.
pub(crate) fn has_open(child: &Child, name: &str) -> bool {
    let entries = fs::read_dir(format!("/proc/{}/fd", child.id())).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|file| file.ends_with(name))
}

#[test]
fn a_signal_while_postgres_starts_stops_both() {
    for name in ["TERM", "HUP"] {
        let place = slow_to_start();
        told_while_postgres_starts(&place, &["serve", "--listen", "127.0.0.1:0"], name).succeeded();
        assert_eq!(place.postmaster(), None);
        let command = told_while_postgres_starts(&place, &["migrate"], name);
        assert_eq!(command.error(), "interrupted");
        assert_eq!(place.postmaster(), None);
    }
}

#[test]
fn a_signal_while_another_process_starts_postgres_is_heard() {
    let place = Place::served();
    let starter = File::open(place.postgres().join("starter.lock")).unwrap();
    starter.lock().unwrap();
    let mut child = place.command(&["serve"]).stderr(Stdio::null()).spawn().unwrap();
    eventually("the service waits for the lock", || has_open(&child, "starter.lock"));
    signal("TERM", &child.id().to_string());
    ends_in_time(&mut child);
    assert!(child.wait().unwrap().success());
}

#[test]
fn as_root_links_of_the_servers_account_are_not_followed() {
    if !is_root() {
        return;
    }
    let place = Place::served();
    let victim = place.data_dir().with_file_name("victim");
    let (starter, users) = (place.postgres().join("starter.lock"), place.postgres().join("users.lock"));
    fs::remove_file(&starter).unwrap();
    symlink(&victim, &starter).unwrap();
    let finished = place.run(&["migrate"]);
    assert!(finished.error().contains("cannot open "), "{}", finished.stderr);
    assert!(!victim.exists());
    fs::remove_file(&starter).unwrap();

    place.file("victim", "the secret of root");
    fs::set_permissions(&victim, Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(&users).unwrap();
    fs::hard_link(&victim, &users).unwrap();
    place.run(&["migrate"]).succeeded();
    assert_eq!(fs::metadata(&victim).unwrap().uid(), 0, "a second name was handed over");

    let log = place.postgres().join("postgres.log");
    fs::remove_file(&log).unwrap();
    symlink(&victim, &log).unwrap();
    let finished = place.run(&["migrate"]);
    assert!(!finished.stderr.contains("the secret of root"), "{}", finished.stderr);
}

#[test]
fn as_root_a_home_that_somebody_else_links_to_is_refused() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let nobody = 65_534;
    fs::create_dir(place.data_dir()).unwrap();
    chown(place.data_dir(), Some(nobody), Some(nobody)).unwrap();
    let of_root = place.data_dir().with_file_name("of-root");
    fs::create_dir(&of_root).unwrap();
    fs::set_permissions(&of_root, Permissions::from_mode(0o700)).unwrap();
    symlink(&of_root, place.postgres()).unwrap();
    lchown(place.postgres(), Some(nobody), Some(nobody)).unwrap();
    let finished = place.run(&["migrate"]);
    assert!(finished.error().contains("root does not follow it"), "{}", finished.stderr);
    assert_eq!(fs::metadata(&of_root).unwrap().uid(), 0);
    fs::remove_file(place.postgres()).unwrap();
}

#[test]
fn a_key_that_could_not_be_shown_is_told_of() {
    let place = Place::served();
    // Whoever reads is gone, which only writing can tell.
    let closed = || std::io::pipe().unwrap().1;
    let lost = place.command(&["org", "create", "lost"]).stdout(closed()).output().unwrap();
    let stderr = String::from_utf8(lost.stderr).unwrap();
    let listed = place.run(&["org", "list", "--json"]).succeeded().json();
    let organization = listed[0]["id"].as_str().unwrap();
    let advice = format!("identityd key issue --org {organization} --label LABEL");
    assert!(
        stderr.contains("was created, but its key could not be shown") && stderr.contains(&advice),
        "{stderr}"
    );
    assert_eq!(lost.status.code(), Some(1));

    let issue = ["key", "issue", "--org", "lost", "--label", "also lost"];
    let lost = place.command(&issue).stdout(closed()).output().unwrap();
    let keys = place.run(&["key", "list", "--org", "lost", "--json"]).succeeded().json();
    let key = keys[1]["id"].as_str().unwrap();
    let stderr = String::from_utf8(lost.stderr).unwrap();
    assert!(stderr.contains(&format!("revoke it with `identityd key revoke {key}`")), "{stderr}");
}

#[test]
fn a_signing_key_is_read_from_a_file_that_nobody_else_can_read() {
    const KEY: &str = "Y2FuYXJ5LW9mLXRoZS1zaWduaW5nLWtleS0wMTIzNDU=";
    let place = Place::served();
    fs::remove_dir_all(place.data_dir().join("signing")).unwrap();
    let file = place.file("key", &format!("{KEY}\n"));
    let serve = || {
        let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.arg("--signing-key-file").arg(&file);
        command
    };
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let open = run(serve().env("RUST_LOG", "off"));
    assert!(open.error().contains("is open to other users (mode 640, should be 600)"), "{}", open.stderr);
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let serving = Serving::start(serve().stderr(Stdio::null()));
    assert!(!place.data_dir().join("signing/key").exists(), "no other key is made");
    assert!(serving.stop().success());
    let both = run(serve().env("IDENTITYD_SIGNING_KEY", KEY));
    assert_eq!(both.error(), "signing_key and signing_key_file are both set");
    let shown = run(place.command(&["migrate"]).args(["--signing-key", KEY])).succeeded();
    assert!(
        shown.stderr.contains("use --signing-key-file") && !shown.stderr.contains(KEY),
        "{}",
        shown.stderr
    );
    let hidden = run(place.command(&["migrate"]).env("IDENTITYD_SIGNING_KEY", KEY)).succeeded();
    assert_eq!(hidden.stderr, "");
}

#[test]
fn a_parameter_of_the_database_url_that_nobody_knows_is_named_without_its_value() {
    let url = "postgres://user@127.0.0.1:1/x?passwd=hunter2&sslmode=disable";
    for arguments in [["doctor"], ["migrate"], ["serve"]] {
        let finished = run(bare(&arguments).args(["--database-url", url]).env("RUST_LOG", "trace"));
        let printed = finished.stdout + &finished.stderr;
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("passwd"), "{printed}");
    }
}
