//! Every input that takes a secret gets a text that is easily recognized, and every output is searched for it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use identity_postgres::PrivatePostgres;
use reqwest::Method;
use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::harness::{Place, Serving, bare, run};
use crate::traces::collector;

const PASSWORD: &str = "canary-of-the-database";
/// `canary-of-the-signing-key-012345`, which has 32 bytes, in base64.
const SIGNING_KEY: &str = "Y2FuYXJ5LW9mLXRoZS1zaWduaW5nLWtleS0wMTIzNDU=";
/// `canary-of-the-vault` in base64, as a client sends encrypted content. The service stores it.
const VAULT: &str = "Y2FuYXJ5LW9mLXRoZS12YXVsdA==";
/// The hash with which a client asks for a wrapped vault key.
const HASH: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";
const WRONG: &str = "canary-of-a-wrong-key";

/// All outputs, each with its source.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn add(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.0.push((place.into(), text.into()));
    }

    /// Asserts that no output contains one of these secrets. The secret of a key is the text after the dot.
    fn has_no(&self, secrets: &[&str]) {
        for (place, text) in &self.0 {
            for secret in secrets {
                assert!(!text.contains(secret), "{secret} is in {place}: {text}");
            }
        }
    }
}

fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(40)).build().unwrap()
}

/// Sends a request, and adds the answer to the outputs. Returns status and body.
fn call(seen: &mut Seen, base: &str, key: &str, method: &Method, path: &str, body: &Value) -> (u16, Value) {
    let request = client().request(method.clone(), format!("{base}{path}")).header("X-API-Key", key);
    let response = request.header("Idempotency-Key", format!("{method}{path}")).json(body).send().unwrap();
    let status = response.status().as_u16();
    let headers = format!("{:?}", response.headers());
    let text = response.text().unwrap();
    seen.add(format!("the answer to {method} {path}"), format!("{headers}\n{text}"));
    (status, serde_json::from_str(&text).unwrap_or_default())
}

/// Sends requests of many kinds. Returns the secrets of the keys that were issued.
fn use_it(seen: &mut Seen, base: &str, key: &str) -> Vec<String> {
    let create = json!({ "agent_handle": "alpha" });
    let (_, alpha) = call(seen, base, key, &Method::POST, "/api/v1/identities", &create);
    let secret = json!({ "name": "s", "encrypted_payload": VAULT });
    assert_eq!(call(seen, base, key, &Method::POST, "/api/v1/vault/secrets", &secret).0, 201);
    // This answer contains a secret on purpose, so it is not added to the outputs.
    let issue = json!({ "label": "k", "scoped_identity_id": alpha["id"] });
    let (status, issued) = call(&mut Seen::default(), base, key, &Method::POST, "/api/v1/api-keys", &issue);
    assert_eq!(status, 201);
    let vault_key = json!({ "id": alpha["id"], "wrapped_org_encryption_key": VAULT, "auth_hash": HASH });
    let vault = json!({ "vault_key": vault_key });
    assert_eq!(call(seen, base, key, &Method::POST, "/api/v1/vault/initialize", &vault).0, 201);
    let unlock = format!("/api/v1/vault/unlock?auth_hash={HASH}");
    assert_eq!(call(&mut Seen::default(), base, key, &Method::GET, &unlock, &json!({})).0, 200);
    let last = format!("/api/v1/vault/keys/{HASH}");
    assert_eq!(call(seen, base, key, &Method::DELETE, &last, &json!({})).0, 409);
    let rotate = "/api/v1/identities/alpha/signing-key";
    let (status, signing) = call(&mut Seen::default(), base, key, &Method::POST, rotate, &json!({}));
    assert_eq!(status, 201);
    assert_eq!(call(seen, base, key, &Method::POST, rotate, &json!({})).0, 201, "repeated");
    assert_eq!(call(seen, base, key, &Method::GET, rotate, &json!({})).0, 200);
    let signing = signing["signing_key"].as_str().unwrap().trim_start_matches("whsec_").to_owned();
    let agent = issued["api_key"].as_str().unwrap().to_owned();
    assert_eq!(call(seen, base, key, &Method::POST, "/api/v1/api-keys", &issue).0, 201, "repeated");
    assert_eq!(call(seen, base, &agent, &Method::GET, "/api/whoami", &json!({})).0, 200);
    assert_eq!(call(seen, base, &agent, &Method::GET, "/api/v1/events", &json!({})).0, 403);
    let wrong = format!("{}.{WRONG}", key.split('.').next().unwrap());
    assert_eq!(call(seen, base, &wrong, &Method::GET, "/api/v1/identities", &json!({})).0, 401);
    for path in ["/api/v1/events", "/api/v1/api-keys", "/api/v1/log/key", "/metrics", "/readyz"] {
        call(seen, base, key, &Method::GET, path, &json!({}));
    }
    assert_eq!(
        call(seen, base, key, &Method::POST, "/api/v1/identities", &json!({ "agent_handle": "other" })).0,
        409
    );
    vec![secret_of(&agent), signing]
}

fn secret_of(key: &str) -> String {
    key.split_once('.').unwrap().1.to_owned()
}

fn dump(url: &str) -> String {
    let of_debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let program =
        of_debian.map(|version| version.path().join("bin/pg_dump")).find(|program| program.exists());
    let mut command = Command::new(program.unwrap_or_else(|| PathBuf::from("pg_dump")));
    let dumped = run(command.args(["--inserts", url])).succeeded().stdout;
    assert!(dumped.contains("api_key.issued"), "a dump has everything in it");
    dumped
}

#[test]
fn no_secret_comes_out_anywhere() {
    let place = Place::served();
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    let url = postgres.url();
    let with_password = url.replacen('@', &format!(":{PASSWORD}@"), 1);
    let command = |arguments: &[&str]| {
        let mut command = bare(arguments);
        command.arg("--data-dir").arg(place.data_dir());
        command.env("DATABASE_URL", &with_password).env("IDENTITYD_SIGNING_KEY", SIGNING_KEY);
        command.env("RUST_LOG", "trace").env("IDENTITYD_LOG_FORMAT", "json");
        command
    };
    let made = run(&mut command(&["org", "create", "secrets", "--json"])).succeeded();
    let key = made.json()["api_key"].as_str().unwrap().to_owned();
    let organization = made.json()["organization_id"].as_str().unwrap().to_owned();
    let mut seen = Seen::default();
    seen.add("the log of a command", made.stderr);
    let log = place.file("log", "");
    let (endpoint, collected) = collector();
    let serve = |log: File| {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--otlp-endpoint", &endpoint];
        Serving::start(command(&arguments).stderr(log))
    };
    let serving = serve(File::options().append(true).open(&log).unwrap());
    let mut secrets = use_it(&mut seen, &serving.base(), &key);
    secrets.push(secret_of(&key));
    let exported = run(&mut command(&["audit", "export", "--org", &organization])).succeeded();
    seen.add("an export", exported.stdout + &exported.stderr);
    seen.add("a dump", dump(&url));
    drop(postgres);
    place.run(&["doctor"]);
    call(&mut seen, &serving.base(), &key, &Method::GET, "/readyz", &json!({}));
    assert!(serving.stop().success());
    for (path, body) in collected.try_iter() {
        seen.add(path, String::from_utf8_lossy(&body));
    }
    let unreachable =
        run(bare(&["doctor"]).env("DATABASE_URL", format!("postgres://u:{PASSWORD}@127.0.0.1:1/x")));
    seen.add("an error", unreachable.stdout.clone() + &unreachable.stderr);
    assert!(seen.0.iter().any(|(_, text)| text.contains("GET /api/whoami")), "nothing was traced");
    let logged = fs::read_to_string(&log).unwrap();
    assert!(logged.contains("identity_not_found") || logged.contains("unauthorized"), "{logged}");
    seen.add("the log", logged);
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    seen.has_no(
        &[&secrets, &[PASSWORD, SIGNING_KEY, "canary-of-the-signing-key", VAULT, HASH, WRONG][..]].concat(),
    );
}
