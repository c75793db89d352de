//! The pool of phone numbers: valid and invalid files, and the numbers of the first start.

use std::fs::File;
use std::process::Stdio;
use std::time::Instant;

use identity_postgres::PrivatePostgres;
use serde_json::json;

use crate::harness::{DEADLINE, Finished, Place, eventually, run, signal, through_shell};

fn load(place: &Place, name: &str, content: &str) -> Finished {
    let file = place.file(name, content);
    place.run(&["numbers", "load", file.to_str().unwrap(), "--json"])
}

/// The number of free phone numbers, from the doctor.
fn free(place: &Place) -> u64 {
    let checks = place.run(&["doctor", "--json"]).json();
    let finding = checks.pointer("/checks/5/finding").unwrap().as_str().unwrap();
    finding.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_file_is_loaded_whole_or_not_at_all() {
    let place = Place::new();
    place.run(&["migrate"]).succeeded();
    let content = "# two\n+12125550100 NY\n+13105550100 CA\n";
    assert_eq!(load(&place, "first", content).succeeded().json(), json!({ "loaded": 2 }));
    assert_eq!(free(&place), 2);

    let known = load(&place, "second", "+13105550101 CA\n\n+13105550100 CA\n");
    let expected = "second: line 3: +13105550100 is in the pool already; nothing was loaded";
    assert!(known.error().ends_with(expected), "{}", known.stderr);
    assert_eq!(free(&place), 2);
}

#[test]
fn a_bad_file_is_refused_before_anything_is_started() {
    let place = Place::new();
    let malformed = load(&place, "numbers", "+12125550100 NY\n+12125550101 NY extra\n");
    assert!(
        malformed.error().contains("numbers: line 2: expected a number and a state"),
        "{}",
        malformed.stderr
    );
    let twice = load(&place, "numbers", "+12125550100 NY\n+12125550100 NY\n");
    assert!(twice.error().contains("line 2: +12125550100 stands on line 1 already"), "{}", twice.stderr);
    let missing = place.run(&["numbers", "load", "/nonexistent"]);
    assert!(missing.error().starts_with("cannot read /nonexistent: No such file"), "{}", missing.stderr);
    assert!(!place.data_dir().exists());
}

#[test]
fn a_file_of_any_size_costs_little_memory() {
    let place = Place::new();
    let sparse = place.file("sparse", "");
    File::options().write(true).open(&sparse).unwrap().set_len(3 << 30).unwrap();
    let path = sparse.to_str().unwrap();
    // 1 GiB of addresses is enough for the program and its threads.
    let script = r#"ulimit -v 1048576 && exec "$0" "$@""#;
    let with_little_memory = |arguments: &[&str]| run(&mut through_shell(&place.command(arguments), script));
    let loaded = with_little_memory(&["numbers", "load", path]);
    assert!(
        loaded.error().ends_with("sparse: line 1: the line is longer than 4096 bytes"),
        "{}",
        loaded.stderr
    );
    let configured = with_little_memory(&["--config", path, "doctor"]);
    assert!(
        configured.error().ends_with("sparse: the file is larger than 1048576 bytes"),
        "{}",
        configured.stderr
    );
    assert!(!place.data_dir().exists());
}

#[test]
fn of_two_loads_at_once_one_gets_the_numbers() {
    let place = Place::new();
    place.run(&["migrate"]).succeeded();
    let content = (0..100).map(|line| format!("+1212555{line:04} NY")).collect::<Vec<_>>().join("\n");
    let outcomes: Vec<bool> = std::thread::scope(|scope| {
        let names = ["a", "b", "c"];
        let loads = names.map(|name| scope.spawn(|| load(&place, name, &content).status.success()));
        loads.into_iter().map(|load| load.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|loaded| **loaded).count(), 1);
    assert_eq!(free(&place), 100);
}

#[test]
fn an_interrupted_load_has_loaded_nothing_and_gives_the_database_back() {
    let place = Place::new();
    let file = place.file("numbers", "+12125550100 NY\n");
    let url = place.database_url();
    place.run(&["migrate"]).succeeded();
    let private = PrivatePostgres::open(place.data_dir()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let finished = runtime.block_on(async {
        let pool = sqlx::PgPool::connect(&url).await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query("lock table phone_number_pool").execute(&mut *transaction).await.unwrap();
        let mut command = place.command(&["numbers", "load", file.to_str().unwrap()]);
        let mut loading = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until_blocked(&pool).await;
        signal("TERM", &loading.id().to_string());
        eventually("the load has ended", || loading.try_wait().unwrap().is_some());
        loading.wait_with_output().unwrap()
    });
    let stderr = String::from_utf8(finished.stderr).unwrap();
    assert_eq!(stderr, format!("error: cannot load {}: interrupted\n", file.display()));
    assert_eq!(finished.status.code(), Some(1));
    private.close().unwrap();
    assert_eq!(place.postmaster(), None);
    assert_eq!(free(&place), 0);
}

/// Waits until some session waits for a lock on the pool.
async fn until_blocked(pool: &sqlx::PgPool) {
    let query =
        "select exists (select from pg_locks where relation = 'phone_number_pool'::regclass and not granted)";
    let deadline = Instant::now() + DEADLINE;
    while !sqlx::query_scalar::<_, bool>(query).fetch_one(pool).await.unwrap() {
        assert!(Instant::now() < deadline, "nobody waits for the pool");
    }
}

#[test]
fn first_starts_at_once_load_the_fictional_numbers_once() {
    let place = Place::new();
    std::thread::scope(|scope| {
        for start in [scope.spawn(|| place.serve()), scope.spawn(|| place.serve())] {
            assert!(start.join().unwrap().stop().success());
        }
    });
    let loaded = free(&place);
    assert!(loaded > 30_000 && loaded.is_multiple_of(100), "{loaded}");
    assert!(place.serve().stop().success());
    assert_eq!(free(&place), loaded);
}

#[test]
fn an_operators_own_numbers_are_not_mixed_with_fictional_ones() {
    let place = Place::new();
    place.run(&["migrate"]).succeeded();
    load(&place, "own", "+12125550100 NY\n").succeeded();
    assert!(place.serve().stop().success());
    assert_eq!(free(&place), 1);
}
