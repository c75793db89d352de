//! The service in operation: its log, TLS and renewed certificates, a supervisor, and a stop that breaks no request
//! off.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::Version;
use reqwest::blocking::{Client, ClientBuilder};
use serde_json::Value;

use crate::harness::{DEADLINE, Finished, Place, Serving, eventually, run, signal};

/// The lines that the service logged.
fn log_of(place: &Place, requests: impl FnOnce(&str, &str)) -> Vec<String> {
    let path = place.file("log", "");
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    let serving = Serving::start(command.env("RUST_LOG", "trace").stderr(File::create(&path).unwrap()));
    let made = place.run(&["org", "create", "logged", "--json"]).succeeded().json();
    requests(&serving.base(), made["api_key"].as_str().unwrap());
    assert!(serving.stop().success());
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn of_requests(log: &[String]) -> Vec<Value> {
    let lines = log.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["message"] == "request").collect()
}

#[test]
fn every_request_is_one_line_of_the_log_without_a_secret() {
    let place = Place::served();
    let mut key = String::new();
    let log = log_of(&place, |base, admin_key| {
        admin_key.clone_into(&mut key);
        let client = Client::builder().no_proxy().build().unwrap();
        let get = |path: &str, key: &str| {
            let request = client.get(format!("{base}{path}")).header("X-API-Key", key);
            request.header("X-Request-Id", "asked-for").send().unwrap()
        };
        get("/api/v1/identities/canary-handle?q=canary-query", admin_key);
        get("/api/v1/identities", "ApiKey_canary.secret");
    });
    let lines = of_requests(&log);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let found = &lines[0];
    assert_eq!(found["method"], "GET");
    assert_eq!(found["route"], "/api/v1/identities/{agent_handle}");
    assert_eq!(found["status"], 404);
    assert_eq!(found["code"], "identity_not_found");
    assert_eq!(found["request_id"], "asked-for");
    assert_eq!(found["client"], "127.0.0.1");
    assert!(found["microseconds"].is_u64(), "{found}");
    assert!(found["organization_id"].as_str().unwrap().starts_with("org_"), "{found}");
    assert!(key.starts_with(found["key_id"].as_str().unwrap()), "{found}");
    assert_eq!((&lines[1]["status"], &lines[1]["key_id"]), (&Value::from(401), &Value::from("-")));
    // The log is at its finest level, and no line has the secret.
    let secret = key.split_once('.').unwrap().1;
    for canary in [secret, "canary.secret"] {
        assert!(!log.iter().any(|line| line.contains(canary)), "{canary} is in the log");
    }
}

#[test]
fn only_a_trusted_proxy_is_believed_when_it_says_whom_it_speaks_for() {
    let client_of = |arguments: &[&str]| {
        let place = Place::served();
        let path = place.file("log", "");
        let serve = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json"];
        let mut command = place.command(&[&serve[..], arguments].concat());
        let serving = Serving::start(command.stderr(File::create(&path).unwrap()));
        let request = Client::new().get(format!("{}/healthz", serving.base()));
        request.header("X-Forwarded-For", "198.51.100.7").send().unwrap();
        assert!(serving.stop().success());
        let log: Vec<String> = std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
        of_requests(&log)[0]["client"].as_str().unwrap().to_owned()
    };
    assert_eq!(client_of(&[]), "127.0.0.1");
    assert_eq!(client_of(&["--trusted-proxies", "10.0.0.0/8,127.0.0.0/8"]), "198.51.100.7");
}

/// Sends the beginning of a request.
fn half_a_request(serving: &Serving, key: &str) -> TcpStream {
    let authority = serving.base().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&authority).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!(
        "POST /api/v1/identities HTTP/1.1\r\nHost: {authority}\r\nX-API-Key: {key}\r\nContent-Length: 27\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn until_closed(mut stream: TcpStream) -> String {
    let mut received = String::new();
    stream.read_to_string(&mut received).unwrap();
    received
}

#[test]
fn a_request_under_way_is_answered_and_idle_connections_are_closed_when_the_service_stops() {
    let place = Place::served();
    let mut serving = place.serve();
    let made = place.run(&["org", "create", "drained", "--json"]).succeeded().json();
    let mut idle = half_a_request(&serving, "");
    idle.write_all(b"{\"agent_handle\":\"no-key\"}  ").unwrap();
    let mut answered = [0; 12];
    idle.read_exact(&mut answered).unwrap();
    assert_eq!(&answered, b"HTTP/1.1 401");
    let mut busy = half_a_request(&serving, made["api_key"].as_str().unwrap());
    let metrics = serving.metrics().to_owned();
    eventually("the request is being answered", || {
        let seen = reqwest::blocking::get(&metrics).unwrap().text().unwrap();
        seen.contains("identityd_http_requests_in_flight 1\n")
    });
    serving.terminate();
    // The connection is closed, after the rest of its answer.
    until_closed(idle);
    eventually("nobody is let in any more", || {
        TcpStream::connect(serving.base().trim_start_matches("http://")).is_err()
    });
    busy.write_all(b"{\"agent_handle\":\"the-last\"}").unwrap();
    let answer = until_closed(busy);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(serving.wait().success());
}

/// A certificate for 127.0.0.1 and its key, in the files that the service reads.
struct Certificate {
    pem: String,
    chain: PathBuf,
    key: PathBuf,
}

impl Certificate {
    fn issue(place: &Place) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let chain = place.file("certificate.pem", &cert.pem());
        let key = place.file("key.pem", &signing_key.serialize_pem());
        Self { pem: cert.pem(), chain, key }
    }

    /// A client that trusts this certificate and no other.
    fn client(&self) -> ClientBuilder {
        let trusted = reqwest::Certificate::from_pem(self.pem.as_bytes()).unwrap();
        Client::builder().tls_built_in_root_certs(false).add_root_certificate(trusted).no_proxy()
    }

    /// Whether such a client gets an answer.
    fn is_served_at(&self, base: &str) -> bool {
        let request = self.client().build().unwrap().get(format!("{base}/healthz"));
        request.send().is_ok_and(|response| response.status() == 200)
    }

    /// A service with this certificate.
    fn serve(&self, place: &Place, arguments: &[&str]) -> Serving {
        let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(arguments).arg("--tls-certificate").arg(&self.chain).arg("--tls-key").arg(&self.key);
        Serving::start(command.stderr(Stdio::null()))
    }
}

#[test]
fn a_certificate_is_renewed_without_a_restart() {
    let place = Place::served();
    let first = Certificate::issue(&place);
    let serving = first.serve(&place, &[]);
    assert!(serving.base().starts_with("https://"));
    assert!(first.is_served_at(&serving.base()));
    let second = Certificate::issue(&place);
    assert!(!second.is_served_at(&serving.base()), "renewed before anybody asked for it");
    signal("HUP", &serving.pid().to_string());
    eventually("the second certificate is served", || second.is_served_at(&serving.base()));
    // If the new certificate cannot be used, the old one stays in use.
    place.file("certificate.pem", "not a certificate");
    signal("HUP", &serving.pid().to_string());
    assert!(second.is_served_at(&serving.base()));
    assert!(serving.stop().success());
}

#[test]
fn clients_choose_the_version_of_http_with_their_hands() {
    let place = Place::served();
    let certificate = Certificate::issue(&place);
    let serving = certificate.serve(&place, &[]);
    let version = |client: ClientBuilder| {
        client.build().unwrap().get(format!("{}/healthz", serving.base())).send().unwrap().version()
    };
    assert_eq!(version(certificate.client()), Version::HTTP_2);
    assert_eq!(version(certificate.client().http1_only()), Version::HTTP_11);
    assert!(serving.stop().success());
}

#[test]
fn whoever_does_not_shake_hands_is_hung_up_on() {
    let place = Place::served();
    let certificate = Certificate::issue(&place);
    let serving = certificate.serve(&place, &["--client-timeout-seconds", "1"]);
    let stream = TcpStream::connect(serving.base().trim_start_matches("https://")).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(until_closed(stream), "");
    assert!(serving.stop().success());
}

#[test]
fn half_of_the_settings_of_tls_are_an_error() {
    let place = Place::new();
    let certificate = Certificate::issue(&place);
    let mut command = place.command(&["serve"]);
    let finished: Finished = run(command.arg("--tls-key").arg(&certificate.key));
    assert_eq!(finished.error(), "tls_key is set and tls_certificate is not");
}

#[test]
fn metrics_have_an_address_of_their_own() {
    let place = Place::served();
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "[::1]:0"]);
    let serving = Serving::start(command.stderr(Stdio::null()));
    let url = serving.metrics().to_owned();
    assert!(url.starts_with("http://[::1]:"), "{url}");
    assert_eq!(reqwest::blocking::get(&url).unwrap().status(), 200);
    let beside = reqwest::blocking::get(format!("{}/metrics", serving.base())).unwrap();
    assert_eq!(beside.status(), 404);
    let elsewhere = url.replace("/metrics", "/api/v1/identities");
    assert_eq!(reqwest::blocking::get(elsewhere).unwrap().status(), 404);
    assert!(serving.stop().success());
}

#[test]
fn a_supervisor_is_told_that_the_service_is_ready_alive_and_about_to_stop() {
    let place = Place::served();
    let socket = place.file("notify", "");
    std::fs::remove_file(&socket).unwrap();
    let supervisor = UnixDatagram::bind(&socket).unwrap();
    supervisor.set_read_timeout(Some(DEADLINE)).unwrap();
    let hears = |state: &str| {
        let mut heard = [0; 512];
        // WATCHDOG=1 comes for ever.
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "never heard {state}");
            let length = supervisor.recv(&mut heard).unwrap();
            if String::from_utf8_lossy(&heard[..length]).lines().any(|line| line.starts_with(state)) {
                return;
            }
        }
    };
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "20000").stderr(Stdio::null());
    let serving = Serving::start(&mut command);
    hears("READY=1");
    hears("WATCHDOG=1");
    signal("HUP", &serving.pid().to_string());
    hears("RELOADING=1");
    hears("READY=1");
    serving.terminate();
    hears("STOPPING=1");
    assert!(serving.stop().success());
}
