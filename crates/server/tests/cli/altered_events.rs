//! A column of an event that has a value which the service does not write, and which some reader cannot read: whatever reads it names
//! the event, and nothing panics.

use std::fs::{self, File};
use std::path::PathBuf;

use identity_postgres::PrivatePostgres;
use reqwest::blocking::Client;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::runtime::Runtime;

use crate::harness::{Finished, Place, Serving, bare, eventually, run};

/// What somebody makes of an event, and whether history shows such an event all the same, since it copies the column as it is.
const ALTERATIONS: [(&str, bool); 9] = [
    ("recorded_at = 'infinity'", false),
    ("recorded_at = '-infinity'", false),
    ("recorded_at = '0044-03-15 00:00:00+00 BC'", false),
    ("recorded_at = '12026-01-01 00:00:00+00'", false),
    (r#"payload = payload || '{"display_name": 1e400}'"#, true),
    ("payload = '[]'", true),
    (r#"metadata = metadata || '{"actor": null}'"#, true),
    ("aggregate_id = 'nobody'", true),
    ("event_version = 'latest'", true),
];

/// The event that is altered: the fourth of the log and of its organization, the second of its identity.
const EVENT: i64 = 4;

/// A service with an identity of three events, of which the second one is altered.
struct Scene {
    place: Place,
    service: Serving,
    log: PathBuf,
    key: String,
    postgres: PrivatePostgres,
}

impl Scene {
    fn new(alteration: &str) -> Self {
        let place = Place::served();
        let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
        let log = place.path("log");
        let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
        let service = Serving::start(command.stderr(File::create(&log).unwrap()));
        let created = place.run(&["org", "create", "acme", "--json"]).succeeded().json();
        let key = created["api_key"].as_str().unwrap().to_owned();
        let scene = Self { place, service, log, key, postgres };
        let base = format!("{}/api/v1/identities", scene.service.base());
        let client = Client::new();
        let send = |request: reqwest::blocking::RequestBuilder, body: Value| {
            request.header("X-API-Key", &scene.key).json(&body).send().unwrap().error_for_status().unwrap();
        };
        send(client.post(&base), json!({ "agent_handle": "alpha" }));
        for number in 0..2 {
            send(client.patch(format!("{base}/alpha")), json!({ "description": format!("{number}") }));
        }
        eventually("all is signed", || scene.get("/log/checkpoint", "*/*").0 == 200);
        scene.alter(alteration);
        scene
    }

    /// Changes the event, as somebody who may switch triggers off.
    fn alter(&self, alteration: &str) {
        let url = self.postgres.url();
        Runtime::new().unwrap().block_on(async {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            connection.execute("set session_replication_role = replica").await.unwrap();
            let alter = format!("update events set {alteration} where position = {EVENT} and sequence = 2");
            assert_eq!(connection.execute(alter.as_str()).await.unwrap().rows_affected(), 1);
            connection.close().await.unwrap();
        });
    }

    /// The status and the body. An answer that is broken off before its head was sent has the status 0.
    fn get(&self, path: &str, accept: &str) -> (u16, String) {
        let request = Client::new().get(format!("{}/api/v1{path}", self.service.base()));
        match request.header("X-API-Key", &self.key).header("Accept", accept).send() {
            Ok(response) => (response.status().as_u16(), response.text().unwrap_or_default()),
            Err(error) => (0, error.to_string()),
        }
    }

    fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

/// Asserts that readers over HTTP name the event in the log of the service, or show it as it is.
fn hold_requests(scene: &Scene, alteration: &str, is_shown: bool) {
    let requests = [
        ("/events", "application/json"),
        ("/events", "application/cloudevents-batch+json"),
        ("/events", "application/x-ndjson"),
        ("/identities/alpha/events", "application/json"),
    ];
    let of_broken = [("/events", "text/event-stream"), ("/identities/alpha?as_of=sequence:5", "*/*")];
    for (path, accept) in requests.into_iter().chain(of_broken.into_iter().filter(|_| !is_shown)) {
        let before = scene.logged().len();
        let (status, body) = scene.get(path, accept);
        if is_shown {
            assert_eq!(status, 200, "{alteration}: {path} {accept}: {body}");
        } else {
            eventually(&format!("{path} {accept} names what has {alteration}"), || {
                scene.logged().split_off(before).contains(&format!("event at position {EVENT}"))
            });
        }
    }
    assert!(!scene.logged().contains("panicked"), "{alteration}: {}", scene.logged());
}

/// Whether a command that failed has named the event: by its place in the log, in the history or in its aggregate.
fn is_named_by(Finished { stdout, stderr, .. }: &Finished) -> bool {
    // The second reader reads rows in bulk, and knows the aggregate alone.
    let names = ["position 4", "event 4", "event 2", "identity nobody", "events behind it"];
    names.iter().any(|name| stdout.contains(name) || stderr.contains(name))
}

/// Asserts that commands which read the event name it, or succeed if they do not read the column.
fn hold_commands(scene: &Scene, alteration: &str) {
    let (export, backup) = (scene.place.path("export"), scene.place.path("backup"));
    let (export, backup) = (export.to_str().unwrap(), backup.to_str().unwrap());
    let (_, verifier_key) = scene.get("/log/key", "*/*");
    let commands: [(&[&str], bool); 8] = [
        (&["audit", "export", "--org", "acme", "--output", export], false),
        (&["audit", "verify", export, "--key", verifier_key.trim()], true),
        (&["backup", backup], false),
        (&["backup", "verify", backup, "--key", verifier_key.trim()], true),
        (&["projections", "rebuild", "identities"], false),
        (&["projections", "verify", "identities"], false),
        (&["projections", "verify", "--independent"], true),
        (&["doctor"], true),
    ];
    for (arguments, must_fail) in commands {
        let verifies_export = arguments.starts_with(&["audit", "verify"]);
        if verifies_export && !fs::exists(export).unwrap() {
            continue;
        }
        let is_without_database = verifies_export || arguments.starts_with(&["backup", "verify"]);
        let finished =
            run(&mut if is_without_database { bare(arguments) } else { scene.place.command(arguments) });
        let Finished { status, stdout, stderr } = &finished;
        let said = format!("{alteration}: {arguments:?}: {status} {stdout}{stderr}");
        assert!(!must_fail || !status.success(), "{said}");
        assert!(status.success() || is_named_by(&finished), "{said}");
    }
}

#[test]
fn whatever_reads_an_altered_event_names_it() {
    for (alteration, is_shown) in ALTERATIONS {
        let scene = Scene::new(alteration);
        hold_requests(&scene, alteration, is_shown);
        hold_commands(&scene, alteration);
        assert!(scene.service.stop().success());
        scene.postgres.close().unwrap();
    }
}
