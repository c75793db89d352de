//! From one major version of Postgres to another: by a backup and a restore, and by `identityd postgres upgrade`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use identityd_tests::skip;

use crate::backup::estate::{Answer, Estate, error, successor_of, text};
use crate::backup::read_everything;
use crate::backup::refusals::change_an_event;
use crate::harness::{Finished, Place, Serving, bare, eventually, run};

/// The second version. The machine has another one.
const SECOND: &str = "18";

/// A place on a machine that has the second version, too.
struct Both {
    place: Place,
    path: String,
    /// The version that makes clusters where the second one is not installed.
    own: String,
}

impl Both {
    /// None if the second version could not be installed, or if the machine has no other.
    fn at(place: Place) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let installed = root.join(format!("target/second-postgres-{SECOND}"));
        let own = own_version();
        if !installed.join("installed").exists() || own == SECOND {
            skip(&format!(
                "Postgres {SECOND} and another version are needed: .ci/second-postgres installs it"
            ));
            return None;
        }
        // The account of the server may not be able to reach the clone.
        let folder = place.path("second");
        let mut copy = Command::new("cp");
        assert!(copy.arg("-a").args([&installed.join("native"), &folder]).status().unwrap().success());
        #[expect(clippy::disallowed_methods, reason = "programs are looked up where a shell would look")]
        let path = std::env::var_os("PATH").unwrap().into_string().unwrap();
        let path = format!("{}:{path}", text(&folder.join("bin")));
        Some(Self { place, path, own })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        command.env("PATH", &self.path);
        command
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        run(&mut self.command(arguments))
    }

    fn serve(&self) -> Serving {
        Serving::start(self.command(&["serve", "--listen", "127.0.0.1:0"]).stderr(Stdio::null()))
    }

    fn cluster(&self, name: &str) -> PathBuf {
        self.place.postgres().join(name)
    }

    /// The major version of a cluster.
    fn version(&self, name: &str) -> String {
        fs::read_to_string(self.cluster(name).join("PG_VERSION")).unwrap().trim().to_owned()
    }

    /// The name under which an upgrade keeps the old cluster.
    fn kept(&self) -> String {
        format!("cluster-of-postgres-{}", self.own)
    }

    /// Fails if there is something that an upgrade needs only while it runs.
    fn check_tidy(&self) {
        for left in ["cluster.upgraded", "cluster.unfinished", "upgrade"] {
            assert!(!self.cluster(left).exists(), "{left} is left");
        }
        for entry in fs::read_dir(self.place.data_dir()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.contains("backup"), "{name} is left");
        }
    }
}

/// The newest version on this machine.
fn own_version() -> String {
    let place = Place::served();
    fs::read_to_string(place.postgres().join("cluster/PG_VERSION")).unwrap().trim().to_owned()
}

/// A stopped service with what clients read of it, and its signed history.
struct Stopped {
    both: Both,
    keys: [String; 2],
    before: Vec<(String, Answer)>,
    note: PathBuf,
    verifier_key: String,
}

impl Stopped {
    fn new() -> Option<Self> {
        let estate = Estate::new();
        let keys = [estate.admin.clone(), estate.agent.clone()];
        let before = read_everything(&estate.service.base(), [&keys[0], &keys[1]]);
        let note = estate.place.file("before.note", &estate.wait_until_signed());
        let verifier_key = estate.verifier_key(1);
        let Estate { service, place, .. } = estate;
        assert!(service.stop().success());
        Some(Self { both: Both::at(place)?, keys, before, note, verifier_key })
    }

    /// Fails unless clients read what they read before, and auditors are given the history that continues their checkpoint.
    fn check_served(&self, both: &Both) {
        let service = both.serve();
        let now = read_everything(&service.base(), [&self.keys[0], &self.keys[1]]);
        for (now, before) in now.iter().zip(&self.before) {
            assert_eq!(now, before);
        }
        assert!(service.stop().success());
        let export = both.place.path("export");
        both.run(&["audit", "export", "--org", "acme", "--output", text(&export)]).succeeded();
        let arguments =
            ["audit", "verify", text(&export), "--key", &self.verifier_key, "--previous", text(&self.note)];
        run(&mut bare(&arguments)).succeeded();
        both.run(&["projections", "verify"]).succeeded();
        let doctor = both.run(&["doctor", "--listen", "127.0.0.1:0"]);
        assert!(doctor.status.success(), "{}", doctor.stdout);
    }
}

#[test]
fn an_upgrade_moves_everything_and_keeps_the_old_cluster() {
    let Some(stopped) = Stopped::new() else { return };
    let both = &stopped.both;
    let own = &both.own;
    let told = both.run(&["org", "list"]).succeeded().stderr;
    assert!(
        told.contains(&format!("Postgres {own} runs on this data directory, and Postgres {SECOND} is")),
        "{told}"
    );
    assert!(told.contains("run `identityd postgres upgrade`"), "{told}");

    let upgraded = both.run(&["postgres", "upgrade"]).succeeded();
    assert!(!upgraded.stderr.contains("runs on this data directory"), "{}", upgraded.stderr);
    let said = upgraded.stdout;
    assert!(said.contains(&format!("the private Postgres is of version {SECOND} now")), "{said}");
    assert!(said.contains(text(&both.cluster(&both.kept()))), "{said}");
    assert!(!said.contains("epoch"), "{said}");
    both.check_tidy();
    assert_eq!(both.place.postmaster(), None);
    assert_eq!([both.version("cluster"), both.version(&both.kept())], [SECOND, own]);
    stopped.check_served(both);

    let again = both.run(&["postgres", "upgrade", "--json"]).succeeded();
    assert_eq!(again.json()["to"], SECOND.parse::<u32>().unwrap());
    assert!(!both.run(&["org", "list"]).succeeded().stderr.contains("postgres upgrade"));
    let back = both.run(&["postgres", "upgrade", "--to", own]);
    assert!(error(&back).contains("to go back to"), "{}", back.stderr);
    let missing = both.run(&["postgres", "upgrade", "--to", "99"]);
    assert!(error(&missing).ends_with("install the package `postgresql-99`"), "{}", missing.stderr);
    // Without the binaries of the second version, every command says what is missing.
    let alone = both.place.run(&["org", "list"]);
    assert!(error(&alone).starts_with(&format!("Postgres {SECOND} made the data")), "{}", alone.stderr);
}

/// An upgrade that is killed leaves the old cluster, which is served, or the new one, whatever it was doing.
#[test]
fn an_upgrade_that_is_killed_leaves_one_whole_cluster() {
    let Some(stopped) = Stopped::new() else { return };
    let both = &stopped.both;
    let own = &both.own;
    let states = [
        both.place.data_dir().join("postgres-upgrade.backup"),
        both.cluster("upgrade/cluster.unfinished"),
        both.cluster("upgrade/cluster/postmaster.pid"),
    ];
    for state in states {
        let mut child = begin_upgrade(both);
        eventually("the upgrade is under way", || state.exists());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(both.run(&["org", "list"]).succeeded().stdout.contains("acme"), "{}", state.display());
        assert_eq!(both.version("cluster"), *own);
        both.check_tidy();
    }
    both.run(&["postgres", "upgrade"]).succeeded();
    both.check_tidy();

    // Before the old cluster is moved away, it goes on, and the new one does not come back.
    fs::rename(both.cluster("cluster"), both.cluster("cluster.upgraded")).unwrap();
    fs::rename(both.cluster(&both.kept()), both.cluster("cluster")).unwrap();
    assert!(both.run(&["org", "list"]).succeeded().stdout.contains("acme"));
    assert_eq!(both.version("cluster"), *own);
    both.check_tidy();

    // After that, the next start puts the new one in its place. Others wait for the upgrade.
    let mut child = begin_upgrade(both);
    eventually("the upgrade is under way", || both.cluster("upgrade").exists());
    assert!(both.run(&["org", "list"]).succeeded().stdout.contains("acme"));
    assert_eq!(both.version("cluster"), SECOND);
    assert!(child.wait().unwrap().success());
    fs::rename(both.cluster("cluster"), both.cluster("cluster.upgraded")).unwrap();
    assert!(both.run(&["org", "list"]).succeeded().stdout.contains("acme"));
    both.check_tidy();
    stopped.check_served(both);
}

fn begin_upgrade(both: &Both) -> Child {
    let mut upgrading = both.command(&["postgres", "upgrade"]);
    upgrading.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn an_upgrade_that_is_refused_changes_nothing() {
    let estate = Estate::new();
    change_an_event(&estate);
    let Estate { service, place, .. } = estate;
    let Some(both) = Both::at(place) else { return };
    let running = both.run(&["postgres", "upgrade"]);
    assert!(error(&running).starts_with("a process uses the private Postgres"), "{}", running.stderr);
    assert!(service.stop().success());

    let full = both.place.path("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("df"), "#!/bin/sh\necho '/dev/vda 100 90 10 90% /'\n").unwrap();
    fs::set_permissions(full.join("df"), Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", text(&full), both.path);
    let full = run(both.command(&["postgres", "upgrade"]).env("PATH", path));
    assert!(error(&full).contains("of free disk space for this, and has 0 MiB"), "{}", full.stderr);

    fs::create_dir(both.cluster(&both.kept())).unwrap();
    let twice = both.run(&["postgres", "upgrade"]);
    assert!(error(&twice).contains("is there from an earlier upgrade"), "{}", twice.stderr);
    fs::remove_dir(both.cluster(&both.kept())).unwrap();

    let changed = both.run(&["postgres", "upgrade"]);
    assert!(error(&changed).contains("fault in the history of"), "{}", changed.stderr);
    both.check_tidy();
    assert_eq!(both.place.postmaster(), None);
    assert_eq!(both.version("cluster"), both.own);
    assert!(both.place.serve().stop().success());
}

/// There and back again.
#[test]
fn a_backup_of_one_version_is_restored_into_another() {
    let Some(stopped) = Stopped::new() else { return };
    let file = stopped.both.place.path("first");
    stopped.both.place.run(&["backup", text(&file)]).succeeded();
    let Some(newer) = Both::at(successor_of(&stopped.both.place)) else { return };
    newer.run(&["restore", text(&file), "--nothing-lost"]).succeeded();
    assert_eq!(newer.version("cluster"), SECOND);
    stopped.check_served(&newer);

    let file = newer.place.path("second-backup");
    newer.run(&["backup", text(&file)]).succeeded();
    let older = successor_of(&newer.place);
    older.run(&["restore", text(&file), "--nothing-lost"]).succeeded();
    let Some(older) = Both::at(older) else { return };
    assert_eq!(older.version("cluster"), older.own);
    stopped.check_served(&older);
}
