//! One Postgres for a data directory: the first process that needs it starts it, and the last one stops it.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use identity_postgres::PrivatePostgres;
use sqlx::{Connection as _, PgConnection};

use crate::harness::{Place, Serving, eventually, is_root, run, signal};

/// Runs a query on an open Postgres and returns the first value as text.
fn asked(url: &str, query: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let value = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        value
    })
}

#[test]
fn commands_find_the_same_data_and_leave_no_server_behind() {
    let place = Place::new();
    place.run(&["migrate"]).succeeded();
    assert_eq!(place.postmaster(), None);
    let checks = place.run(&["doctor", "--json"]).json();
    assert_eq!(checks["checks"][2]["name"], "migrations");
    assert_eq!(checks["checks"][2]["passed"], true);
    assert_eq!(place.postmaster(), None);
}

#[test]
fn services_that_start_at_once_share_a_server_and_the_last_one_stops_it() {
    let place = Place::new();
    let mut services: Vec<Serving> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..3).map(|_| scope.spawn(|| place.serve())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let postmaster = place.postmaster().unwrap();

    // All services but the last stop at the same time, and a command runs meanwhile.
    let last = services.pop().unwrap();
    services.iter().for_each(Serving::terminate);
    place.run(&["migrate"]).succeeded();
    for service in &mut services {
        assert!(service.wait().success());
    }
    assert_eq!(place.postmaster(), Some(postmaster));

    assert!(last.stop().success());
    assert_eq!(place.postmaster(), None);
}

#[test]
fn the_server_of_a_killed_service_is_taken_over_and_stopped_by_the_last_one() {
    let place = Place::served();
    let killed = place.serve();
    let postmaster = place.postmaster();
    assert!(postmaster.is_some());
    killed.kill();
    let next = place.serve();
    assert_eq!(place.postmaster(), postmaster);
    next.kill();
    assert_eq!(place.postmaster(), postmaster);
    place.run(&["migrate"]).succeeded();
    assert_eq!(place.postmaster(), None);
}

#[test]
fn nobody_loses_the_server_while_others_come_and_go() {
    let place = Place::served();
    std::thread::scope(|scope| {
        for user in 1..=4 {
            let place = &place;
            scope.spawn(move || {
                // Each user works for a different time, so that some are at work whenever another one starts or ends.
                let query = format!("select current_database()::text from pg_sleep({user} * 0.1)");
                for _ in 0..12 / user {
                    let private = PrivatePostgres::open(place.data_dir()).unwrap();
                    assert_eq!(asked(&private.url(), &query), "identityd");
                    private.close().unwrap();
                }
            });
        }
    });
    assert_eq!(place.postmaster(), None);

    // Dropped without closing it, as on an error.
    drop(PrivatePostgres::open(place.data_dir()).unwrap());
    assert_eq!(place.postmaster(), None);
}

#[test]
fn what_makes_a_commit_durable_is_on_whatever_the_configuration_says() {
    let place = Place::served();
    place.run(&["migrate"]).succeeded();
    let configuration = place.postgres().join("cluster/postgresql.conf");
    let content = fs::read_to_string(&configuration).unwrap();
    fs::write(
        &configuration,
        format!("{content}\nfsync = off\nsynchronous_commit = off\nwork_mem = '7MB'\n"),
    )
    .unwrap();

    let private = PrivatePostgres::open(place.data_dir()).unwrap();
    let setting = |name| asked(&private.url(), &format!("select current_setting('{name}')"));
    assert_eq!(setting("fsync"), "on");
    assert_eq!(setting("synchronous_commit"), "on");
    assert_eq!(setting("listen_addresses"), "");
    assert_eq!(setting("work_mem"), "7MB");
    assert_eq!(setting("server_encoding"), "UTF8");
}

#[test]
fn only_the_account_of_the_server_may_come_near_the_socket() {
    let place = Place::new();
    let private = PrivatePostgres::open(place.data_dir()).unwrap();
    let postgres = place.postgres();
    for folder in [postgres.clone(), postgres.join("socket"), postgres.join("cluster")] {
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700, "{}", folder.display());
    }
    private.close().unwrap();

    fs::set_permissions(postgres.join("socket"), Permissions::from_mode(0o755)).unwrap();
    let error = place.run(&["migrate"]).error().to_owned();
    assert!(error.ends_with("is open to other users (mode 755, should be 700)"), "{error}");
}

#[test]
fn the_server_is_in_a_process_group_of_its_own() {
    let place = Place::served();
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut serving = Serving::start(command.stderr(Stdio::null()).process_group(0));
    let group = |pid: u32| {
        let output = Command::new("ps").args(["-o", "pgid=", "-p", &pid.to_string()]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_ne!(group(serving.pid()), group(place.postmaster().unwrap()));

    // Ctrl+C in a terminal sends the signal to the whole process group.
    signal("INT", &format!("-{}", serving.pid()));
    assert!(serving.wait().success());
    assert_eq!(place.postmaster(), None);
}

#[test]
fn a_service_that_is_killed_while_it_makes_the_cluster_is_followed_by_a_good_one() {
    let place = Place::new();
    let mut killed = place.command(&["serve"]).stderr(Stdio::null()).spawn().unwrap();
    eventually("a cluster is being made", || place.postgres().join("cluster.unfinished").exists());
    killed.kill().unwrap();
    killed.wait().unwrap();
    // The process that makes the cluster still runs, and has the lock. The next start must wait for it.
    let lock = File::open(place.postgres().join("starter.lock")).unwrap();
    assert!(matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
    place.run(&["migrate"]).succeeded();
}

#[test]
fn a_cluster_that_was_not_finished_is_made_anew() {
    let place = Place::served();
    place.run(&["migrate"]).succeeded();
    let cluster = place.postgres().join("cluster");
    fs::rename(&cluster, place.postgres().join("cluster.unfinished")).unwrap();
    place.run(&["migrate"]).succeeded();
    assert!(cluster.exists());
    assert!(!place.postgres().join("cluster.unfinished").exists());
}

#[test]
fn data_of_another_version_of_postgres_is_named_with_the_way_to_move_it() {
    let place = Place::served();
    let version = place.postgres().join("cluster/PG_VERSION");
    let own = fs::read_to_string(&version).unwrap();
    fs::write(&version, "9\n").unwrap();
    let refused = place.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(
        refused.error().contains("Postgres 9 made the data in this data directory"),
        "{}",
        refused.stderr
    );
    let here = refused.error().split("is installed here is: Postgres ").nth(1).unwrap();
    assert!(here.split(';').next().unwrap().contains(own.trim()), "{}", refused.stderr);
    assert!(refused.error().contains("`identityd postgres upgrade`"), "{}", refused.stderr);
}

#[test]
fn a_process_id_that_a_stranger_has_by_now_keeps_nobody_from_starting() {
    let place = Place::served();
    place.serve().kill();
    let postmaster = place.postmaster().unwrap();
    let files =
        ["cluster/postmaster.pid", "socket/.s.PGSQL.5432.lock"].map(|name| place.postgres().join(name));
    let contents = files.each_ref().map(|file| fs::read_to_string(file).unwrap());
    crash(&place, postmaster);

    // A process of the same account. Otherwise Postgres itself would see that it is no server.
    let owner = fs::metadata(place.postgres()).unwrap();
    let mut stranger = Command::new("sleep").arg("600").uid(owner.uid()).gid(owner.gid()).spawn().unwrap();
    for (file, content) in files.iter().zip(contents) {
        fs::write(file, content.replacen(&postmaster.to_string(), &stranger.id().to_string(), 1)).unwrap();
    }
    let finished = place.run(&["migrate"]);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    finished.succeeded();
}

/// Kills the server and its children, as a crash of the machine does.
fn crash(place: &Place, postmaster: u32) {
    signal("KILL", &postmaster.to_string());
    // Postgres does not start another server on the data until the children have noticed that the server is gone.
    eventually("the children of the server have ended", || {
        let output = Command::new("ps").args(["-A", "-o", "ppid=,stat=,args="]).output().unwrap();
        let name = format!("identityd-{}", fs::metadata(place.postgres().join("cluster")).unwrap().ino());
        !String::from_utf8_lossy(&output.stdout).contains(&name)
    });
}

#[test]
fn a_path_may_hold_what_means_something_to_a_shell() {
    let mut place = Place::new();
    place.set_data_dir("it's \"a\" $(touch /tmp/identityd-was-here), 100% `x` \\n");
    place.run(&["migrate"]).succeeded();
    assert!(!Path::new("/tmp/identityd-was-here").exists());
}

#[test]
fn a_long_path_gets_a_short_folder_for_its_socket_that_nobody_else_can_make_ready() {
    let mut place = Place::new();
    place.set_data_dir("long".repeat(30));
    let service = place.serve();
    let folder = short_folder(&place);
    assert!(folder.starts_with("/tmp") && folder.as_os_str().len() < 40, "{}", folder.display());
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    place.run(&["migrate"]).succeeded();
    assert!(service.stop().success());
    fs::remove_dir(&folder).unwrap();

    let elsewhere = place.data_dir().join("elsewhere");
    DirBuilder::new().mode(0o700).create(&elsewhere).unwrap();
    symlink(&elsewhere, &folder).unwrap();
    let linked = place.run(&["migrate"]);
    fs::remove_file(&folder).unwrap();
    assert!(linked.error().ends_with("is not a folder"), "{}", linked.stderr);

    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    let open = place.run(&["migrate"]);
    fs::remove_dir(&folder).unwrap();
    assert!(open.error().contains("is open to other users"), "{}", open.stderr);
}

fn short_folder(place: &Place) -> PathBuf {
    let url = place.database_url();
    let host = url.split_once('@').unwrap().1.split_once(':').unwrap().0;
    PathBuf::from(host.replace("%2F", "/").replace("%2D", "-"))
}

#[test]
fn as_root_the_cluster_of_a_closed_folder_lives_elsewhere_and_is_never_replaced() {
    if !is_root() {
        return;
    }
    let mut place = Place::with_mode(0o700);
    let first = place.run(&["migrate"]).succeeded();
    assert_eq!(
        first.stderr.matches("so the database lives in /var/lib/identityd/").count(),
        1,
        "{}",
        first.stderr
    );
    let outside = fs::read_link(place.postgres()).unwrap();
    assert_eq!(fs::metadata(&outside).unwrap().mode() & 0o777, 0o700);

    let old = place.data_dir().to_owned();
    place.set_data_dir("moved");
    fs::rename(old, place.data_dir()).unwrap();
    let second = place.run(&["doctor", "--json"]);
    assert_eq!(second.json()["checks"][2]["passed"], true, "{}", second.stdout);
    assert!(!second.stderr.contains("lives in"), "{}", second.stderr);

    fs::remove_dir_all(&outside).unwrap();
    let third = place.run(&["migrate"]);
    let expected = "which is gone: restore it, or remove the link to start empty";
    assert!(third.error().ends_with(expected), "{}", third.stderr);
}

#[test]
fn as_root_a_data_directory_of_somebody_else_is_served_under_their_account() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let nobody = 65_534;
    fs::create_dir(place.data_dir()).unwrap();
    chown(place.data_dir(), Some(nobody), Some(nobody)).unwrap();
    run(place.command(&["migrate"]).uid(nobody).gid(nobody)).succeeded();
    assert_eq!(fs::metadata(place.postgres()).unwrap().uid(), nobody);

    place.run(&["migrate"]).succeeded();
    run(place.command(&["migrate"]).uid(nobody).gid(nobody)).succeeded();

    let stranger = run(place.command(&["migrate"]).uid(nobody - 1).gid(nobody - 1));
    let expected = format!("belongs to the user with id {nobody}, run identityd as that user");
    assert!(stranger.error().ends_with(&expected), "{}", stranger.stderr);
}

#[test]
fn as_root_a_file_that_the_servers_account_may_not_read_is_named_with_the_reason() {
    if !is_root() {
        return;
    }
    let place = Place::served();
    let cluster = place.postgres().join("cluster");
    let uid = fs::metadata(&cluster).unwrap().uid();
    for path in [cluster.join("PG_VERSION"), cluster] {
        let owner = fs::metadata(&path).unwrap();
        chown(&path, Some(0), Some(0)).unwrap();
        let refused = place.run(&["migrate"]);
        let reason = format!(": Permission denied (for the user with id {uid}, who runs Postgres)");
        assert!(refused.error().contains("cannot read "), "{}", refused.stderr);
        assert!(refused.error().ends_with(&reason), "{}", refused.stderr);
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    place.run(&["migrate"]).succeeded();
}

#[test]
fn a_start_that_fails_tells_its_own_reason_and_not_that_of_an_earlier_one() {
    let place = Place::served();
    let configuration = place.postgres().join("cluster/postgresql.conf");
    let content = fs::read_to_string(&configuration).unwrap();
    fs::write(&configuration, format!("{content}\nno_such_setting = 1\n")).unwrap();
    let misconfigured = place.run(&["migrate"]);
    assert!(misconfigured.error().contains("postgresql.conf\" contains errors"), "{}", misconfigured.stderr);
    fs::write(&configuration, content).unwrap();

    let control = place.postgres().join("cluster/global/pg_control");
    let whole = fs::read(&control).unwrap();
    File::options().write(true).open(&control).unwrap().set_len(100).unwrap();
    let damaged = place.run(&["migrate"]);
    assert!(
        damaged.error().contains("PANIC:") && damaged.error().contains("pg_control"),
        "{}",
        damaged.stderr
    );
    fs::write(&control, whole).unwrap();
    place.run(&["migrate"]).succeeded();
}
