//! `identityd serve --demo`.

use std::fs::{self, File};
use std::process::Stdio;

use identity_postgres::PrivatePostgres;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::runtime::Runtime;

use crate::harness::{Place, Serving, eventually, signal};

#[test]
fn the_demo_is_prepared_once() {
    let place = Place::served();
    let demo = || {
        let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--demo"]);
        Serving::start(command.stderr(Stdio::null()))
    };
    let first = demo().printed_until("/sales-agent");
    let key = first.split("admin key, shown only now: ").nth(1).unwrap().lines().next().unwrap();
    assert_eq!(first.matches(&format!("curl -sS -H 'X-API-Key: {key}'")).count(), 3, "{first}");

    let second = demo().printed_until("another admin key");
    assert!(!second.contains("ApiKey_"), "{second}");
    let organizations = place.run(&["org", "list", "--json"]).succeeded().json();
    assert_eq!(organizations.as_array().unwrap().len(), 1);
}

/// At its first start the service waits for a Postgres that tells notices.
#[test]
fn the_first_start_of_a_demo_says_where_webhooks_may_be_sent() {
    let place = Place::new();
    let log = place.path("log");
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--demo"]);
    let service = Serving::start(command.stderr(File::create(&log).unwrap()));
    assert!(service.stop().success());
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("webhooks may be sent to addresses of this machine"), "{log}");
}

#[test]
fn a_postgres_that_is_restarted_meanwhile_delays_the_demo() {
    let place = Place::served();
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    let runtime = Runtime::new().unwrap();
    let mut connections = [(); 2].map(|()| runtime.block_on(PgConnection::connect(&postgres.url())).unwrap());
    let [blocking, looking] = &mut connections;
    runtime.block_on(blocking.execute("begin; select from log_head for update")).unwrap();
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--demo"]);
    let service = Serving::start(command.stderr(Stdio::null()));
    let waiting = "select exists (select from pg_stat_activity
                   where application_name = 'identityd committer' and wait_event_type = 'Lock')";
    eventually("the organization is being created", || {
        runtime.block_on(sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut *looking)).unwrap()
    });
    // A fast shutdown. The service starts Postgres again.
    signal("INT", &place.postmaster().unwrap().to_string());
    let printed = service.printed_until("/sales-agent");
    assert!(printed.contains("admin key, shown only now: "), "{printed}");
    drop(connections);
    postgres.close().unwrap();
}
