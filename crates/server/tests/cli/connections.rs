//! A Postgres with fewer connections than the service is configured for.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use identity_postgres::PrivatePostgres;
use reqwest::StatusCode;
use reqwest::blocking::Client;
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::runtime::Runtime;

use crate::harness::{Place, Serving, StopAtEnd, eventually};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A place with an organization and its key. From its next start on, its Postgres has this many connections.
fn cramped(connections: u32) -> (Place, String) {
    let place = Place::served();
    let made = place.run(&["org", "create", "acme", "--json"]).succeeded().json();
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    runtime().block_on(async {
        let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
        let few = format!("alter system set max_connections = {connections}");
        for setting in [few.as_str(), "alter system set superuser_reserved_connections = 0"] {
            connection.execute(setting).await.unwrap();
        }
        connection.close().await.unwrap();
    });
    postgres.close().unwrap();
    (place, made["api_key"].as_str().unwrap().to_owned())
}

fn serve(place: &Place, readers: &str) -> Serving {
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--database-connections", readers];
    Serving::start(place.command(&arguments).stderr(Stdio::null()))
}

fn is_ready(serving: &Serving) -> bool {
    reqwest::blocking::get(format!("{}/readyz", serving.base())).unwrap().status() == StatusCode::OK
}

#[test]
fn whoever_writes_comes_before_those_who_read() {
    let (place, key) = cramped(16);
    let runtime = runtime();
    // The service would leave no connection for the test.
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    let mut bystander = runtime.block_on(PgConnection::connect(&postgres.url())).unwrap();
    let serving = serve(&place, "16");
    let identities = format!("{}/api/v1/identities/", serving.base());
    let client = Client::new();
    let create = |handle: &str| {
        let body = json!({ "agent_handle": handle });
        client.post(&identities).header("X-API-Key", &key).json(&body).send().unwrap()
    };
    // A key that is not in memory is read, and whoever reads may find no connection.
    eventually("the key is in memory", || {
        client.get(&identities).header("X-API-Key", &key).send().unwrap();
        let metrics = client.get(serving.metrics()).send().unwrap().text().unwrap();
        metrics.lines().any(|line| line.contains(r#"kind="key",outcome="hit""#) && !line.ends_with(" 0"))
    });
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let read = client.get(&identities).query(&[("q", "nobody")]).header("X-API-Key", &key);
                    read.send().unwrap();
                }
            });
        }
        let _stop = StopAtEnd(&is_over);
        for round in 0..3 {
            // The committer pings a connection only if it was idle for 10 ms. Without the ping its next batch would
            // fail.
            let idle =
                "select count(*) = 1 from pg_stat_activity where application_name = 'identityd committer'
                        and state = 'idle' and state_change < clock_timestamp() - interval '20 ms'";
            eventually("the committer is idle", || {
                runtime.block_on(sqlx::query_scalar::<_, bool>(idle).fetch_one(&mut bystander)).unwrap()
            });
            let end = "select pg_terminate_backend(pid) from pg_stat_activity
                       where application_name = 'identityd committer'";
            runtime.block_on(bystander.execute(end)).unwrap();
            let created = create(&format!("agent-{round}"));
            assert_eq!(created.status(), StatusCode::CREATED, "{}", created.text().unwrap());
        }
    });
    runtime.block_on(bystander.close()).unwrap();
    assert!(serving.stop().success());
    postgres.close().unwrap();
}

#[test]
fn a_rebuild_at_the_start_makes_do_with_what_there_is() {
    let (place, _) = cramped(12);
    let runtime = runtime();
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    let mut bystander = runtime.block_on(PgConnection::connect(&postgres.url())).unwrap();
    let outdated = "update read_models set version = 0 where name = 'identities'";
    runtime.block_on(bystander.execute(outdated)).unwrap();
    let serving = serve(&place, "2");
    eventually("the read model is rebuilt", || is_ready(&serving));
    runtime.block_on(bystander.close()).unwrap();
    assert!(serving.stop().success());
    postgres.close().unwrap();
}
