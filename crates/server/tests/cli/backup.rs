//! A backup of a running service, verified offline and restored into a new data directory: everything is as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use reqwest::Method;
use reqwest::blocking::Client;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::harness::{Finished, Place, Serving, bare, eventually, run};

/// An answer, as far as a restore must not change it.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    entity_tag: Option<String>,
    body: String,
    is_replayed: bool,
}

/// Sends a request under an idempotency key that follows from it.
fn call(base: &str, key: &str, method: &Method, path: &str, body: &Value) -> Answer {
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
struct Estate {
    service: Serving,
    place: Place,
    admin: String,
    agent: String,
}

const RENAME: &str = r#"{"agent_handle":"front-desk"}"#;

impl Estate {
    fn new() -> Self {
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
    fn wait_until_signed(&self) -> String {
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

    fn fill(&mut self) {
        let phone = json!({ "agent_handle": "harbor-desk", "phone_number": { "type": "local" } });
        let desk = self.made("/identities", &phone);
        let watch = self.made("/identities", &json!({ "agent_handle": "night-watch" }));
        self.made("/identities", &json!({ "agent_handle": "short-lived" }));
        self.write(Method::DELETE, "/identities/short-lived", &json!({}), 204);
        self.write(Method::PATCH, "/identities/harbor-desk", &serde_json::from_str(RENAME).unwrap(), 200);
        self.made("/identities/front-desk/access", &json!({ "viewer_identity_id": watch["id"] }));
        let key = json!({ "label": "desk", "scoped_identity_id": desk["id"] });
        self.agent = self.made("/api-keys", &key)["api_key"].as_str().unwrap().to_owned();
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

    fn made(&self, path: &str, body: &Value) -> Value {
        serde_json::from_str(&self.write(Method::POST, path, body, 201).body).unwrap()
    }

    fn write(&self, method: Method, path: &str, body: &Value, status: u16) -> Answer {
        let answer = call(&self.service.base(), &self.admin, &method, path, body);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        answer
    }

    /// The verifier key of the history in this epoch.
    fn verifier_key(&self, epoch: u64) -> String {
        let key = call(&self.service.base(), &self.admin, &Method::GET, "/log/key", &json!(null)).body;
        let name = key.split('+').next().unwrap();
        let origin = if epoch == 1 { name.to_owned() } else { format!("{name}/{epoch}") };
        identity_proof::checkpoint::rename_key(&key, &origin).unwrap()
    }

    fn backup(&self, name: &str) -> PathBuf {
        let file = self.place.path(name);
        let taken = self.place.run(&["backup", text(&file), "--json"]).succeeded();
        assert_eq!(taken.json()["organizations"], 1, "{}", taken.stdout);
        file
    }

    /// A place that has the keys of this one, and no database.
    fn successor(&self) -> Place {
        let place = Place::new();
        fs::create_dir(place.data_dir()).unwrap();
        for name in ["signing", "secrets.key"] {
            let (from, to) = (self.place.data_dir().join(name), place.data_dir().join(name));
            assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
        }
        place
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What clients read, for each key.
fn read_everything(base: &str, keys: [&str; 2]) -> Vec<(String, Answer)> {
    let paths = [
        "/identities",
        "/identities/front-desk",
        "/identities/front-desk?as_of=sequence:4",
        "/identities/front-desk/access",
        "/identities/front-desk/events",
        "/identities/front-desk/signing-key",
        "/identities/night-watch",
        "/identities/short-lived",
        "/events",
        "/phone/numbers",
        "/tunnels",
        "/mail/mailboxes",
        "/vault/secrets",
        "/webhooks/subscriptions",
        "/log/key",
    ];
    let read = |key: &str, path: &str| {
        let mut answer = call(base, key, &Method::GET, path, &json!(null));
        // An error names its request. The tag of a list names the tables that it was read from.
        let error = answer.body.split(",\"request_id\"").next().map(str::to_owned);
        answer.body = error.unwrap_or_default();
        answer.entity_tag = answer.entity_tag.filter(|tag| tag.contains('-'));
        (path.to_owned(), answer)
    };
    keys.into_iter().flat_map(|key| paths.map(|path| read(key, path))).collect()
}

#[test]
fn a_restored_service_answers_as_the_one_that_was_backed_up() {
    let estate = Estate::new();
    let keys = [estate.admin.as_str(), estate.agent.as_str()];
    let page =
        call(&estate.service.base(), &estate.admin, &Method::GET, "/events?limit=5", &json!(null)).body;
    let cursor = serde_json::from_str::<Value>(&page).unwrap()["next"].as_str().unwrap().to_owned();
    let rest = format!("/events?after={cursor}");
    let rest_before = call(&estate.service.base(), &estate.admin, &Method::GET, &rest, &json!(null));
    let before = read_everything(&estate.service.base(), keys);
    let note = estate.place.file("before.note", &estate.wait_until_signed());
    let verifier_key = before.iter().find(|(path, _)| path == "/log/key").unwrap().1.body.trim().to_owned();
    let file = estate.backup("backup");

    let verified = run(&mut bare(&["backup", "verify", text(&file), "--key", &verifier_key])).succeeded();
    assert!(verified.stdout.contains("none is missing; signatures are checked"), "{}", verified.stdout);
    let target = estate.successor();
    let restored = target.run(&["restore", text(&file), "--nothing-lost"]).succeeded();
    assert!(restored.stdout.contains("of 1 organizations, as they were at"), "{}", restored.stdout);
    assert!(restored.stdout.contains("opens all 1 signing keys and 1 tokens"), "{}", restored.stdout);
    assert!(!restored.stdout.contains("epoch"), "{}", restored.stdout);

    assert_eq!(shape(&target), shape(&estate.place));

    let service = target.serve();
    for (now, before) in read_everything(&service.base(), keys).iter().zip(&before) {
        assert_eq!(now, before);
    }
    assert_eq!(call(&service.base(), &estate.admin, &Method::GET, &rest, &json!(null)), rest_before);
    let rename: Value = serde_json::from_str(RENAME).unwrap();
    let repeated = call(&service.base(), &estate.admin, &Method::PATCH, "/identities/harbor-desk", &rename);
    assert!(repeated.is_replayed && repeated.status == 200, "{repeated:?}");
    let held = json!({ "agent_handle": "short-lived", "display_name": "somebody else" });
    assert_eq!(call(&service.base(), &estate.admin, &Method::POST, "/identities", &held).status, 409);
    let new = json!({ "agent_handle": "day-watch" });
    assert_eq!(call(&service.base(), &estate.admin, &Method::POST, "/identities", &new).status, 201);

    let export = target.path("export");
    target.run(&["audit", "export", "--org", "acme", "--output", text(&export)]).succeeded();
    let arguments = ["audit", "verify", text(&export), "--key", &verifier_key, "--previous", text(&note)];
    run(&mut bare(&arguments)).succeeded();
    target.run(&["projections", "verify"]).succeeded();
    target.run(&["projections", "verify", "--independent"]).succeeded();
    let checked = target.run(&["doctor", "--listen", "127.0.0.1:0"]);
    assert!(checked.status.success(), "{}", checked.stdout);
}

#[test]
fn a_log_begins_a_new_epoch_unless_nothing_was_lost() {
    let estate = Estate::new();
    let file = estate.backup("backup");
    // The memory beside the key learns of an event that the backup does not have.
    estate.made("/identities", &json!({ "agent_handle": "after-the-backup" }));
    let note = estate.place.file("before.note", &estate.wait_until_signed());
    let target = estate.successor();

    let said = target.run(&["restore", text(&file)]).succeeded().stdout;
    assert!(said.contains("1 logs begin a new epoch"), "{said}");
    let service = target.serve();
    let checkpoint = call(&service.base(), &estate.admin, &Method::GET, "/log/checkpoint", &json!(null)).body;
    assert!(checkpoint.lines().next().unwrap().ends_with("/2"), "{checkpoint}");
    let export = target.path("export");
    target.run(&["audit", "export", "--org", "acme", "--output", text(&export)]).succeeded();
    let key = call(&service.base(), &estate.admin, &Method::GET, "/log/key", &json!(null)).body;
    let arguments = ["audit", "verify", text(&export), "--key", key.trim(), "--previous", text(&note)];
    let lost = run(&mut bare(&arguments));
    assert!(lost.error().contains("was signed in the earlier checkpoint and is missing"), "{}", lost.stderr);

    // Whoever says that nothing was lost is told what the memory knows, and nothing is signed.
    let other = estate.successor();
    let said = other.run(&["restore", text(&file), "--nothing-lost"]).succeeded().stdout;
    assert!(said.contains("is not signed any more: the log has"), "{said}");
    assert!(said.contains("identityd audit new-epoch --org org_"), "{said}");
}

#[test]
fn nothing_is_restored_without_a_key_or_over_something() {
    let estate = Estate::new();
    let file = estate.backup("backup");
    let again = estate.place.run(&["backup", text(&file)]);
    assert!(again.error().ends_with("is there already"), "{}", again.stderr);

    let without = Place::new();
    let refused = without.run(&["restore", text(&file)]);
    assert!(refused.error().starts_with("there is no signing key in"), "{}", refused.stderr);
    assert!(!without.data_dir().exists());

    let running = estate.place.run(&["restore", text(&file)]);
    assert!(running.error().starts_with("a service is running on this database"), "{}", running.stderr);
    let Estate { service, place, .. } = estate;
    assert!(service.stop().success());
    let filled = place.run(&["restore", text(&file)]);
    assert!(filled.error().starts_with("this database is not empty"), "{}", filled.stderr);

    let stranger = Place::new();
    let signing = stranger.data_dir().join("signing");
    fs::create_dir_all(&signing).unwrap();
    fs::write(signing.join("key"), "BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=").unwrap();
    fs::set_permissions(signing.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let other = stranger.run(&["restore", text(&file)]);
    assert!(other.error().contains("is not signed by the given key"), "{}", other.stderr);
    let new = Place::new();
    let said = new.run(&["restore", text(&file), "--other-signing-key"]).succeeded().stdout;
    assert!(said.contains("begin a new epoch") && said.contains("secrets.key is missing"), "{said}");
}

/// Every byte of a backup counts: those of lines, of lengths, of rows.
#[test]
fn a_backup_with_another_bit_or_a_part_of_a_backup_is_refused() {
    let estate = Estate::new();
    let file = estate.backup("backup");
    let bytes = fs::read(&file).unwrap();
    let verify = |content: &[u8]| {
        let changed = estate.place.path("changed");
        fs::write(&changed, content).unwrap();
        run(&mut bare(&["backup", "verify", text(&changed)]))
    };
    verify(&bytes).succeeded();
    let lines: Vec<usize> = section_starts(&bytes);
    assert_eq!(lines.len(), 17);
    let ends = [0, bytes.len() / 2, bytes.len() - 2, bytes.len() - 1];
    for at in lines.iter().flat_map(|start| [start + 14, start + 200]).chain(ends) {
        let mut changed = bytes.clone();
        changed[at.min(bytes.len() - 1)] ^= 1;
        let refused = verify(&changed);
        assert_eq!(refused.status.code(), Some(1), "byte {at}: {}", refused.stdout);
    }
    for length in lines.iter().copied().chain([1, bytes.len() / 2, bytes.len() - 1]) {
        assert_eq!(verify(&bytes[..length]).status.code(), Some(1), "cut after {length}");
    }
    assert!(verify(&bytes[..bytes.len() - 1]).error().ends_with("it was cut off"));
    assert_eq!(verify(&[bytes.as_slice(), b"\n"].concat()).status.code(), Some(1));

    // A restore refuses it before there is a database.
    let target = estate.successor();
    let mut changed = bytes;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(estate.place.path("changed"), changed).unwrap();
    let refused = target.run(&["restore", text(&estate.place.path("changed"))]);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stdout);
    assert!(!target.postgres().exists());
}

fn section_starts(bytes: &[u8]) -> Vec<usize> {
    let start = br#"{"section":{"table":""#;
    (0..bytes.len()).filter(|at| bytes[*at..].starts_with(start)).collect()
}

/// An event that somebody changed in the database, leaf hash and all, is in the backup, and is found.
#[test]
fn a_history_that_was_changed_is_found_and_restored_only_on_demand() {
    let estate = Estate::new();
    execute(
        &estate.place,
        "set session_replication_role = replica;
         update events set payload = jsonb_set(payload, '{agent_handle}', '\"night-watcher\"')
         where event_type = 'identity.created' and payload ->> 'agent_handle' = 'night-watch'",
    );
    let file = estate.backup("backup");
    let verified = run(&mut bare(&["backup", "verify", text(&file)]));
    assert!(verified.stdout.contains("is not the one that was signed"), "{}", verified.stdout);
    let target = estate.successor();
    let refused = target.run(&["restore", text(&file)]);
    assert!(refused.error().contains("is not the one that was signed"), "{}", refused.stderr);
    assert!(!target.postgres().exists());
    target.run(&["restore", text(&file), "--allow-faults"]).succeeded();
    let export = target.path("export");
    target.run(&["audit", "export", "--org", "acme", "--output", text(&export)]).succeeded();
    let exported = run(&mut bare(&["audit", "verify", text(&export), "--key", &estate.verifier_key(2)]));
    assert!(exported.error().contains("is not the one that was signed"), "{}", exported.stderr);
}

/// The indexes and constraints of the tables.
fn shape(place: &Place) -> String {
    asked(
        place,
        "select string_agg(definition, E'\\n' order by definition)
         from (select indexdef as definition from pg_indexes where schemaname = 'public'
               union all
               select concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
               from pg_constraint where connamespace = 'public'::regnamespace) as definitions",
    )
}

fn asked(place: &Place, query: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut database = PgConnection::connect(&place.database_url()).await.unwrap();
        let answer = sqlx::query_scalar(query).fetch_one(&mut database).await.unwrap();
        database.close().await.unwrap();
        answer
    })
}

fn execute(place: &Place, statement: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut database = PgConnection::connect(&place.database_url()).await.unwrap();
        database.execute(statement).await.unwrap();
        database.close().await.unwrap();
    });
}

/// A restore that is cut off after its rows are written is not served. Begun again, it is finished.
#[test]
fn a_restore_that_was_cut_off_is_not_served_and_can_be_finished() {
    let estate = Estate::new();
    let file = estate.backup("backup");
    let target = estate.successor();
    let mut restoring = target.command(&["restore", text(&file), "--nothing-lost"]);
    restoring.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = restoring.spawn().unwrap();
    eventually("the rows are written", || target.postmaster().is_some() && is_marked(&target));
    child.kill().unwrap();
    child.wait().unwrap();
    for command in
        [&["serve", "--listen", "127.0.0.1:0"][..], &["migrate"], &["org", "list"], &["backup", "other"]]
    {
        let refused: Finished = target.run(command);
        assert!(
            refused.stderr.contains("a restore into this database is not finished"),
            "{command:?}: {}",
            refused.stderr
        );
    }
    let other = estate.backup("other");
    let refused = target.run(&["restore", text(&other), "--nothing-lost"]);
    assert!(refused.error().starts_with("another backup is being restored"), "{}", refused.stderr);
    target.run(&["restore", text(&file), "--nothing-lost"]).succeeded();
    assert!(target.serve().stop().success());
}

/// A restore that is killed while it writes leaves an empty database.
#[test]
fn a_restore_that_is_killed_while_it_writes_leaves_an_empty_database() {
    let estate = Estate::new();
    let file = estate.backup("backup");
    let target = estate.successor();
    target.run(&["migrate"]).succeeded();
    let url = target.database_url();
    // Keeps the server running after the restore, and the restore from finishing: this is the last table.
    let keeper = identityd::private_postgres::PrivatePostgres::open(target.data_dir()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut database = runtime.block_on(PgConnection::connect(&url)).unwrap();
    runtime
        .block_on(database.execute("begin; lock table webhook_log_endpoints in access exclusive mode"))
        .unwrap();
    let mut restoring = target.command(&["restore", text(&file), "--nothing-lost"]);
    let mut child = restoring.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the restore waits for the last table", || {
        let waits = "select exists (select from pg_locks where relation = 'webhook_log_endpoints'::regclass and not granted)";
        runtime.block_on(sqlx::query_scalar(waits).fetch_one(&mut database)).unwrap()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    runtime.block_on(database.execute("rollback")).unwrap();
    assert!(!is_marked(&target));
    assert_eq!(target.run(&["org", "list"]).succeeded().stdout, "");
    target.run(&["restore", text(&file), "--nothing-lost"]).succeeded();
    assert!(target.run(&["org", "list"]).succeeded().stdout.contains("acme"));
    runtime.block_on(database.close()).unwrap();
    keeper.close().unwrap();
}

fn is_marked(place: &Place) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Ok(mut database) = PgConnection::connect(&place.database_url()).await else { return false };
        let found = sqlx::query_scalar("select exists (select from restore_under_way)")
            .fetch_one(&mut database)
            .await;
        found.unwrap_or(false)
    })
}

/// Backups that are taken while clients write are consistent: each verifies, and has what was acknowledged before it began.
#[test]
fn a_backup_beside_writes_is_one_consistent_state() {
    let estate = Estate::new();
    let (base, stop, written) = (estate.service.base(), AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (base, admin, stop, written) = (&base, &estate.admin, &stop, &written);
            scope.spawn(move || {
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let body = json!({ "agent_handle": format!("w-{writer}-{turn}") });
                    assert_eq!(call(base, admin, &Method::POST, "/identities", &body).status, 201);
                    written.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 0..3 {
            let before = written.load(Ordering::SeqCst);
            eventually("more is written", || written.load(Ordering::SeqCst) > before + 20);
            let acknowledged = written.load(Ordering::SeqCst);
            let file = estate.backup(&format!("backup-{round}"));
            let verified = run(&mut bare(&["backup", "verify", text(&file), "--json"])).succeeded().json();
            assert!(verified["rows"]["name_claims"].as_u64().unwrap() >= u64::from(acknowledged));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let file = estate.backup("last");
    let target = estate.successor();
    target.run(&["restore", text(&file), "--nothing-lost"]).succeeded();
    target.run(&["projections", "verify"]).succeeded();
    target.run(&["projections", "verify", "--independent"]).succeeded();
}
