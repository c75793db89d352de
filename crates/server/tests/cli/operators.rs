//! Commands for organizations and keys, with and without a running service.

use serde_json::{Value, json};

use crate::harness::{Place, Serving, eventually, run, through_shell};

fn json(place: &Place, arguments: &[&str]) -> Value {
    run(place.command(arguments).arg("--json")).succeeded().json()
}

#[test]
fn what_operators_make_is_there_with_and_without_a_service() {
    let place = Place::served();
    let service = place.serve();
    let created = json(&place, &["org", "create", "acme"]);
    assert!(created["api_key"].as_str().unwrap().starts_with("ApiKey_"));
    let issued = json(&place, &["key", "issue", "--org", "acme", "--label", "second"]);
    assert!(service.stop().success());

    let organizations = json(&place, &["org", "list"]);
    assert_eq!(organizations[0]["id"], created["organization_id"]);
    assert_eq!(organizations[0]["name"], "acme");
    let key_id = issued["key_id"].as_str().unwrap();
    assert_eq!(json(&place, &["key", "revoke", key_id])["status"], "revoked");
    let keys = json(&place, &["key", "list", "--org", "acme"]);
    assert_eq!(keys.as_array().unwrap().len(), 2);
    assert_eq!((&keys[0]["label"], &keys[0]["revoked_at"]), (&"admin".into(), &Value::Null));
    assert_eq!(keys[1]["id"], key_id);
    assert!(keys[1]["revoked_at"].is_string());

    let unknown = place.run(&["key", "list", "--org", "nobody"]);
    assert_eq!(unknown.error(), "there is no organization nobody");
}

#[test]
fn no_secret_is_made_where_nobody_would_see_it() {
    let place = Place::served();
    let made = json(&place, &["org", "create", "acme"]);
    let key = made["api_key"].as_str().unwrap().split('.').next().unwrap();
    let before = place.run(&["key", "list", "--org", "acme"]).stdout;
    for command in [
        &["key", "issue", "--org", "acme", "--label", "lost"][..],
        &["key", "rotate", key],
        &["org", "create", "lost"],
        &["org", "create", "lost", "--json"],
    ] {
        for nowhere in [">&-", ">/dev/null", ">/dev/full", "1</dev/zero"] {
            let script = format!(r#"exec "$0" "$@" {nowhere}"#);
            let lost = run(&mut through_shell(&place.command(command), &script));
            assert!(lost.error().contains("nothing was made"), "{command:?} {nowhere}: {}", lost.stderr);
        }
    }
    assert_eq!(place.run(&["key", "list", "--org", "acme"]).stdout, before);
    assert_eq!(json(&place, &["org", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_key_expires_and_gets_a_new_text_at_the_command_line() {
    let place = Place::served();
    json(&place, &["org", "create", "acme"]);
    let issue = ["key", "issue", "--org", "acme", "--label", "l"];
    let issued = json(&place, &[&issue[..], &["--expires-in", "90d"]].concat());
    let at = "2035-01-01T00:00:00Z";
    let dated = json(&place, &[&issue[..], &["--expires-at", at]].concat());
    let key_id = issued["key_id"].as_str().unwrap();
    let rotated = json(&place, &["key", "rotate", key_id, "--overlap", "2h", "--expires-at", at]);
    assert_eq!(rotated["key_id"], key_id);
    let text = |value: &Value| value["api_key"].as_str().unwrap().to_owned();
    assert!(text(&rotated).starts_with(key_id) && text(&rotated) != text(&issued));
    let keys = json(&place, &["key", "list", "--org", "acme"]);
    assert_eq!(
        [&keys[0], &keys[1], &keys[2]].map(|key| &key["expires_at"]),
        [&Value::Null, &at.into(), &at.into()]
    );
    assert_eq!(keys[2]["id"], dated["key_id"]);
    assert_eq!(keys[1]["previous_valid_until"], rotated["previous_valid_until"]);
    assert!(text(&rotated).ends_with(keys[1]["last4"].as_str().unwrap()));
    assert_eq!(keys[1]["last_used_at"], Value::Null);
    let listed = place.run(&["key", "list", "--org", "acme"]).succeeded().stdout;
    assert!(listed.contains("active until 2035-01-01T00:00:00Z"), "{listed}");

    let past = place.run(&[&issue[..], &["--expires-at", "2020-01-01T00:00:00Z"]].concat());
    assert_eq!(past.error(), "a key must expire in the future");
    let long = place.run(&["key", "rotate", key_id, "--overlap", "31d"]);
    assert_eq!(long.error(), "the previous secret of a key is valid for at most 30 days");
    json(&place, &["key", "revoke", key_id]);
    assert!(place.run(&["key", "rotate", key_id]).error().contains("was revoked"));
}

#[test]
fn an_operator_disables_a_webhook_and_a_change_makes_it_active_again() {
    let place = Place::served();
    let log = place.path("log");
    // What fails is not sent again by itself.
    let mut serve = place.command(&["serve", "--listen", "127.0.0.1:0", "--webhook-retry-delays", "3600"]);
    let service = Serving::start(serve.stderr(std::fs::File::create(&log).unwrap()));
    let key = json(&place, &["org", "create", "acme"])["api_key"].as_str().unwrap().to_owned();
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let send = |method: reqwest::Method, path: &str, body: &Value| -> Value {
        let url = format!("{}/api/v1{path}", service.base());
        let answer = client.request(method, url).header("X-API-Key", &key).json(body).send().unwrap();
        serde_json::from_str(&answer.text().unwrap()).unwrap()
    };
    let post = reqwest::Method::POST;
    let identity = send(post.clone(), "/identities", &json!({ "agent_handle": "alpha" }));
    let url = "https://alpha.example/canary-path";
    let body = json!({ "agent_identity_id": identity["id"], "url": url, "auth_token": "canary-token", "event_types": ["identity.updated"] });
    let subscription = send(post, "/webhooks/subscriptions", &body);
    let id = subscription["id"].as_str().unwrap();
    // The key of the subscription is an update of the identity, which cannot be sent: nobody has this name.
    let delivered = || json(&place, &["webhooks", "deliveries", id]);
    eventually("a delivery is listed", || delivered()[0].is_object());
    let delivery = delivered()[0].clone();
    assert_eq!(delivery["event_type"], "identity.updated");
    assert!(
        delivery["error_detail"].as_str().unwrap().contains("alpha.example has no address"),
        "{delivery}"
    );
    eventually("what failed waits", || json(&place, &["webhooks", "retry", id])["retried"] == 1);
    eventually("it was sent again", || delivered().as_array().unwrap().len() == 2);
    assert_eq!(delivered()[0]["event_id"], delivery["event_id"]);
    let unknown = "00000000-0000-7000-8000-000000000000";
    for command in ["retry", "disable"] {
        for (id, error) in [(unknown, "there is no webhook"), ("alpha", "alpha is not the id of a webhook")] {
            let refused = place.run(&["webhooks", command, id]);
            assert!(refused.error().starts_with(error), "{}", refused.stderr);
        }
    }
    let disabled = json(&place, &["webhooks", "disable", id]);
    assert_eq!(disabled, json!({ "id": id, "kind": "subscription", "status": "disabled" }));
    let listed = json(&place, &["webhooks", "list", "--org", "acme"]);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["status"], &listed[0]["disabled_reason"]),
        (&subscription["id"], &"disabled".into(), &"operator".into())
    );
    let line = place.run(&["webhooks", "list", "--org", "acme"]).succeeded().stdout;
    assert!(line.contains("disabled: operator") && line.contains("https://alpha.example/"), "{line}");
    let path = format!("/webhooks/subscriptions/{id}");
    let shown = send(reqwest::Method::GET, &path, &Value::Null);
    assert_eq!((&shown["status"], &shown["disabled_reason"]), (&"active".into(), &"operator".into()));
    let changed = send(reqwest::Method::PATCH, &path, &json!({ "url": url }));
    assert_eq!(changed["disabled_reason"], Value::Null);
    assert_eq!(json(&place, &["webhooks", "list", "--org", "acme"])[0]["status"], "active");
    let unknown = place.run(&["webhooks", "disable", "x"]);
    assert_eq!(unknown.error(), "x is not the id of a webhook subscription or log endpoint");
    assert!(service.stop().success());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("a webhook was not answered") && !log.contains("sent a webhook"), "{log}");
    let signing_key = subscription["signing_key"].as_str().unwrap().trim_start_matches("whsec_");
    assert!(!log.contains("canary") && !log.contains(signing_key), "{log}");
}

#[test]
fn an_operator_sees_log_endpoints_and_disables_one() {
    let place = Place::served();
    let log = place.path("log");
    // What fails is not sent again by itself.
    let mut serve = place.command(&["serve", "--listen", "127.0.0.1:0", "--webhook-retry-delays", "3600"]);
    let service = Serving::start(serve.stderr(std::fs::File::create(&log).unwrap()));
    let key = json(&place, &["org", "create", "acme"])["api_key"].as_str().unwrap().to_owned();
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/api/v1/webhooks/log-endpoints", service.base());
    let send = |request: reqwest::blocking::RequestBuilder| -> Value {
        let answer = request.header("X-API-Key", &key).send().unwrap();
        serde_json::from_str(&answer.text().unwrap()).unwrap()
    };
    let created = send(client.post(&url).json(&json!({ "url": "https://alpha.example/", "after": 0 })));
    let id = created["id"].as_str().unwrap();
    let listed = || json(&place, &["webhooks", "list", "--org", "acme"])[0].clone();
    // Nobody has this name.
    eventually("the first attempt has failed", || listed()["failing_since"].is_string());
    assert_eq!(
        (&listed()["id"], &listed()["kind"], &listed()["status"]),
        (&created["id"], &"log_endpoint".into(), &"active".into())
    );
    let attempted = listed()["last_attempt_at"].clone();
    assert_eq!(json(&place, &["webhooks", "retry", id])["retried"], 1);
    eventually("it was sent again", || listed()["last_attempt_at"] != attempted);
    let disabled = json(&place, &["webhooks", "disable", id]);
    assert_eq!(disabled, json!({ "id": id, "kind": "log_endpoint", "status": "disabled" }));
    let again = place.run(&["webhooks", "disable", id]).succeeded().stdout;
    assert_eq!(again.trim(), format!("disabled the log endpoint {id}"));
    assert_eq!(listed()["disabled_reason"], "operator");
    let shown = send(client.get(&url));
    assert_eq!(shown["log_endpoints"][0]["disabled_reason"], "operator");
    let line = place.run(&["webhooks", "list", "--org", "acme"]).succeeded().stdout;
    assert!(line.contains("log endpoint") && line.contains("disabled: operator"), "{line}");
    assert!(service.stop().success());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(
        log.contains("an event for a log endpoint was not answered") && !log.contains("sent an event"),
        "{log}"
    );
}
