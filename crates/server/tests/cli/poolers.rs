//! A service behind a pooler: refused by name if that mixes sessions, served if it does not.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use identity_postgres::PrivatePostgres;
use identityd_tests::skip;

use crate::harness::{Finished, Place, Serving, bare, eventually, run_to_end};

/// `PgBouncer` in front of the Postgres of a place. It ends with the test.
struct Pooler {
    child: Child,
    url: String,
}

impl Pooler {
    /// `None` if it is not installed, which is said.
    fn start(place: &Place, pool_mode: &str, ignored: &str) -> Option<Self> {
        let programs = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];
        let Some(program) = programs.into_iter().find(|program| fs::exists(program).unwrap()) else {
            skip("there is no PgBouncer here: .ci/tools installs it");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let owner = fs::metadata(place.postgres()).unwrap();
        let content = format!(
            "[databases]\nidentityd = host={} port=5432 user=identityd dbname=identityd\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {pool_mode}\n\
             ignore_startup_parameters = {ignored}\n",
            place.postgres().join("socket").display()
        );
        let file = place.file(&format!("{pool_mode}.ini"), &content);
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
        let mut command = Command::new(program);
        command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.uid(owner.uid()).gid(owner.gid()).spawn().unwrap();
        let url = format!("postgres://identityd@127.0.0.1:{port}/identityd?sslmode=disable");
        let pooler = Self { child, url };
        eventually("the pooler listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(pooler)
    }

    /// Runs a command over the pooler.
    fn run(&self, place: &Place, arguments: &[&str]) -> Finished {
        let mut command = bare(arguments);
        command.args(["--database-url", &self.url, "--data-dir"]).arg(place.data_dir());
        run_to_end(command.env("RUST_LOG", "off"))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_pooler_that_mixes_sessions_is_refused_by_name() {
    let place = Place::served();
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    for (pool_mode, ignored, why) in [
        ("transaction", "extra_float_digits,options", "hands every transaction to another session"),
        ("statement", "extra_float_digits,options", "transaction"),
        ("session", "", "refuses a parameter"),
    ] {
        let Some(pooler) = Pooler::start(&place, pool_mode, ignored) else { return };
        let started = pooler.run(&place, &["serve", "--listen", "127.0.0.1:0"]);
        let error = started.error();
        assert!(error.contains("PgBouncer") && error.contains(why), "{pool_mode}, {ignored}: {error}");
        let checked = pooler.run(&place, &["doctor", "--json"]);
        assert!(checked.stdout.contains("PgBouncer"), "{pool_mode}, {ignored}: {}", checked.stdout);
    }
    postgres.close().unwrap();
}

#[test]
fn a_pooler_that_keeps_sessions_will_do() {
    let place = Place::served();
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    let Some(pooler) = Pooler::start(&place, "session", "extra_float_digits,options") else { return };
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", &pooler.url];
    let service = Serving::start(place.command(&serve).stderr(Stdio::null()));
    let checked = pooler.run(&place, &["doctor", "--json"]).succeeded().json();
    assert_eq!(checked["passed"], true, "{checked}");
    pooler.run(&place, &["org", "create", "pooled"]).succeeded();
    pooler.run(&place, &["projections", "rebuild", "--all"]).succeeded();
    assert!(service.stop().success());
    postgres.close().unwrap();
}
