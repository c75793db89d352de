//! A running service with something of everything, and questions to it and to its database.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use identity_postgres::PrivatePostgres;
use reqwest::Method;
use reqwest::blocking::Client;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::harness::{Finished, Place, Serving, eventually};

/// An answer, as far as a restore must not change it.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) entity_tag: Option<String>,
    pub(super) body: String,
    pub(super) is_replayed: bool,
}

/// Sends a request under an idempotency key that follows from it.
pub(super) fn call(base: &str, key: &str, method: &Method, path: &str, body: &Value) -> Answer {
    let request = Client::new().request(method.clone(), format!("{base}/api/v1{path}"));
    let request = request.header("X-API-Key", key);
    let request = if *method == Method::GET {
        request
    } else {
        request.header("Idempotency-Key", format!("{method}{path}{body}").replace(' ', "_")).json(body)
    };
    let response = request.send().unwrap();
    let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (entity_tag, is_replayed) = (header("etag"), header("idempotent-replayed").is_some());
    Answer { status: response.status().as_u16(), entity_tag, is_replayed, body: response.text().unwrap() }
}

/// A running service with something of everything.
pub(super) struct Estate {
    pub(super) service: Serving,
    pub(super) place: Place,
    pub(super) admin: String,
    pub(super) agent: String,
}

pub(super) const RENAME: &str = r#"{"agent_handle":"front-desk"}"#;

impl Estate {
    pub(super) fn new() -> Self {
        let place = Place::served();
        let service = place.serve();
        let created = place.run(&["org", "create", "acme", "--json"]).succeeded().json();
        let admin = created["api_key"].as_str().unwrap().to_owned();
        let mut estate = Self { service, place, admin, agent: String::new() };
        estate.fill();
        estate.wait_until_signed();
        estate
    }

    /// Waits until the last event is signed. Returns that checkpoint.
    pub(super) fn wait_until_signed(&self) -> String {
        let read = |path| call(&self.service.base(), &self.admin, &Method::GET, path, &json!(null)).body;
        let events: Value = serde_json::from_str(&read("/events?limit=1000")).unwrap();
        let count = events["events"].as_array().unwrap().len().to_string();
        let mut signed = String::new();
        eventually("the last event is signed", || {
            signed = read("/log/checkpoint");
            signed.lines().nth(1) == Some(&count)
        });
        signed
    }

    pub(super) fn fill(&mut self) {
        let phone = json!({ "agent_handle": "harbor-desk", "phone_number": { "type": "local" } });
        let desk = self.made("/identities", &phone);
        let watch = self.made("/identities", &json!({ "agent_handle": "night-watch" }));
        self.made("/identities", &json!({ "agent_handle": "short-lived" }));
        self.write(&Method::DELETE, "/identities/short-lived", &json!({}), 204);
        self.write(&Method::PATCH, "/identities/harbor-desk", &serde_json::from_str(RENAME).unwrap(), 200);
        self.made("/identities/front-desk/access", &json!({ "viewer_identity_id": watch["id"] }));
        let key = json!({ "label": "desk", "scoped_identity_id": desk["id"] });
        self.made("/api-keys", &key)["api_key"].as_str().unwrap().clone_into(&mut self.agent);
        let secret = json!({ "name": "safe", "encrypted_payload": "Y2lwaGVydGV4dA==" });
        let secret = self.made("/vault/secrets", &secret);
        let access = format!("/vault/secrets/{}/access", secret["id"].as_str().unwrap());
        self.made(&access, &json!({ "identity_id": desk["id"] }));
        self.made("/identities/front-desk/signing-key", &json!({}));
        let subscription = json!({
            "agent_identity_id": desk["id"], "url": "https://desk.example/hook",
            "event_types": ["identity.updated"], "auth_token": "sesame",
        });
        self.made("/webhooks/subscriptions", &subscription);
        self.made("/webhooks/log-endpoints", &json!({ "url": "https://desk.example/history", "after": 3 }));
    }

    pub(super) fn made(&self, path: &str, body: &Value) -> Value {
        serde_json::from_str(&self.write(&Method::POST, path, body, 201).body).unwrap()
    }

    pub(super) fn write(&self, method: &Method, path: &str, body: &Value, status: u16) -> Answer {
        let answer = call(&self.service.base(), &self.admin, method, path, body);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        answer
    }

    /// The verifier key of the history in this epoch.
    pub(super) fn verifier_key(&self, epoch: u64) -> String {
        let key = call(&self.service.base(), &self.admin, &Method::GET, "/log/key", &json!(null)).body;
        let name = key.split('+').next().unwrap();
        let origin = if epoch == 1 { name.to_owned() } else { format!("{name}/{epoch}") };
        identity_proof::checkpoint::rename_key(&key, &origin).unwrap()
    }

    pub(super) fn backup(&self, name: &str) -> PathBuf {
        let file = self.place.path(name);
        let taken = self.place.run(&["backup", text(&file), "--json"]).succeeded();
        assert_eq!(taken.json()["organizations"], 1, "{}", taken.stdout);
        file
    }

    /// A place that has the keys of this one, and no database.
    pub(super) fn successor(&self) -> Place {
        successor_of(&self.place)
    }
}

/// A place that has the keys of another one, and no database.
pub(super) fn successor_of(other: &Place) -> Place {
    let place = Place::new();
    fs::create_dir(place.data_dir()).unwrap();
    for name in ["signing", "secrets.key"] {
        let (from, to) = (other.data_dir().join(name), place.data_dir().join(name));
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    }
    place
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The error of a command that failed. Lines before it tell how far the command was.
pub(super) fn error(finished: &Finished) -> &str {
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stdout);
    finished.stderr.lines().last().unwrap().strip_prefix("error: ").unwrap()
}

/// Runs a query on the database of a place, whether it is served or not, and returns the first value as text.
pub(super) fn asked(place: &Place, query: &str) -> String {
    let private = PrivatePostgres::open(place.data_dir()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut database = PgConnection::connect(&private.url()).await.unwrap();
        let answer = sqlx::query_scalar(query).fetch_one(&mut database).await.unwrap();
        database.close().await.unwrap();
        answer
    })
}

/// Runs statements on the database of a place that is served.
pub(super) fn execute(place: &Place, statement: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut database = PgConnection::connect(&place.database_url()).await.unwrap();
        database.execute(statement).await.unwrap();
        database.close().await.unwrap();
    });
}
