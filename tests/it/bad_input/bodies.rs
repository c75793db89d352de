//! Bodies that are not JSON, not objects, or too large.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, World, text};

const IDENTITIES: &str = "/api/v1/identities/";
const MEBIBYTE: usize = 1024 * 1024;

/// A body of exactly this size. It would be a valid create if its description were not too long.
fn of_size(bytes: usize) -> Vec<u8> {
    let frame = json!({"agent_handle": "alpha", "description": ""}).to_string().len();
    json!({"agent_handle": "alpha", "description": "x".repeat(bytes - frame)}).to_string().into_bytes()
}

/// Every route that takes a body, for an identity, a number, a tunnel and a secret that exist.
fn writing_routes(world: &World) -> Vec<(Method, String)> {
    let admin = world.admin();
    let created = admin.create("alpha");
    let phone = admin.provision("alpha");
    let secret = admin.register_secret("first");
    vec![
        (Method::POST, "/identities/".to_owned()),
        (Method::PATCH, "/identities/alpha".to_owned()),
        (Method::POST, "/identities/alpha/access".to_owned()),
        (Method::POST, "/phone/numbers".to_owned()),
        (Method::PATCH, format!("/phone/numbers/{}", text(&phone["id"]))),
        (Method::PATCH, format!("/tunnels/{}", text(&created["tunnel"]["id"]))),
        (Method::PATCH, "/mail/mailboxes/alpha".to_owned()),
        (Method::POST, "/api-keys".to_owned()),
        (Method::POST, "/vault/secrets".to_owned()),
        (Method::POST, format!("/vault/secrets/{}/access", text(&secret["id"]))),
    ]
}

/// Sends each body to every route that takes one, and asserts that none of them stores anything.
fn everywhere(bodies: &[&[u8]], judge: impl Fn(Answer)) {
    let world = World::new();
    let admin = world.admin();
    for (method, path) in writing_routes(&world) {
        for body in bodies {
            world.stores_nothing(|| judge(admin.call(method.clone(), &path).body(*body).send()));
        }
    }
}

// Decision D21.
#[test]
fn a_body_that_is_not_json_is_refused_by_every_route() {
    let broken: [&[u8]; 8] = [
        b"{",
        b"{\"agent_handle\": }",
        b"agent_handle=alpha",
        b"{'a': 1}",
        b"[1,]",
        b"{} {}",
        b"nul",
        // Half of a surrogate pair is no character.
        b"{\"agent_handle\": \"\\ud800\"}",
    ];
    everywhere(&broken, Answer::not_json);
}

#[test]
fn a_body_that_is_not_utf_8_is_refused_by_every_route() {
    everywhere(&[b"{\"agent_handle\": \"\xff\xfe\xfd\"}", b"\xff", b"\x00"], Answer::not_json);
}

#[test]
fn a_body_that_is_no_object_is_refused_by_every_route() {
    everywhere(&[b"[]", b"7", b"\"alpha\"", b"true", b"null"], |answer| {
        answer.invalid_at(&["body"]);
    });
}

#[test]
fn a_create_without_a_body_is_refused() {
    let world = World::new();
    let admin = world.admin();
    for path in ["/identities/", "/api-keys", "/phone/numbers", "/vault/secrets"] {
        let send = || admin.call(Method::POST, path).send();
        world.stores_nothing(|| send().invalid_at(&["body"]));
    }
}

// Decision D21: the `Content-Type` header is not looked at.
#[test]
fn the_content_type_does_not_matter() {
    let world = World::new();
    let admin = world.admin();
    for (handle, content_type) in
        [("alpha", "text/plain"), ("bravo", "application/x-www-form-urlencoded"), ("carol", "?")]
    {
        let body = json!({"agent_handle": handle}).to_string();
        admin
            .call(Method::POST, "/identities/")
            .header("Content-Type", content_type)
            .body(body)
            .send()
            .created();
    }
    let body = json!({"agent_handle": "delta"}).to_string();
    admin.call(Method::POST, "/identities/").body(body).send().created();
    let form = admin.call(Method::POST, "/identities/").header("Content-Type", "application/json");
    world.stores_nothing(|| form.body("agent_handle=echo").send().not_json());
}

#[test]
fn ten_megabytes_are_too_much_however_they_are_sent() {
    let world = World::new();
    let admin = world.admin();
    let huge = of_size(10 * MEBIBYTE);
    world.stores_nothing(|| admin.raw("POST", IDENTITIES, &huge).refused(413));
    world.stores_nothing(|| admin.raw_in_chunks("POST", IDENTITIES, &huge).refused(413));
    admin.create("alpha");
}

#[test]
fn a_mebibyte_is_read_and_one_byte_more_is_not() {
    let world = World::new();
    let admin = world.admin();
    let read = || admin.raw("POST", IDENTITIES, &of_size(MEBIBYTE));
    world.stores_nothing(|| read().invalid_at(&["body", "description"]));
    world.stores_nothing(|| admin.raw("POST", IDENTITIES, &of_size(MEBIBYTE + 1)).refused(413));
    let in_chunks = |size| admin.raw_in_chunks("POST", IDENTITIES, &of_size(size));
    world.stores_nothing(|| in_chunks(MEBIBYTE).invalid_at(&["body", "description"]));
    world.stores_nothing(|| in_chunks(MEBIBYTE + 1).refused(413));
}

#[test]
fn a_thousand_levels_are_too_deep() {
    let world = World::new();
    let admin = world.admin();
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    let tunnel = format!("/tunnels/{}", text(&admin.create("alpha")["tunnel"]["id"]));
    let send = |method: Method, path: &str, body: String| admin.call(method, path).body(body).send();
    let attempts = [
        (Method::POST, "/identities/", deep.clone()),
        (Method::POST, "/identities/", format!("{{\"agent_handle\": {deep}}}")),
        (Method::PATCH, "/identities/alpha", format!("{{\"description\": {deep}}}")),
        (Method::PATCH, &*tunnel, format!("{{\"metadata\": {{\"a\": {deep}}}}}")),
        (Method::POST, "/identities/", "{\"a\":".repeat(1_000)),
    ];
    for (method, path, body) in attempts {
        world.stores_nothing(|| send(method, path, body).invalid_at(&["body"]));
    }
    // The value of an unknown field may be refused for its depth, or ignored.
    let ignored = send(Method::PATCH, "/identities/alpha", format!("{{\"unknown\": {deep}}}"));
    assert!(matches!(ignored.status, 200 | 422), "{ignored}");
}

#[test]
fn a_handle_of_64_kibibytes_is_too_long() {
    let world = World::new();
    let admin = world.admin();
    let huge = "a".repeat(64 * 1024);
    world.stores_nothing(|| admin.try_create(&huge, json!({})).invalid_at(&["body", "agent_handle"]));
    admin.create("alpha");
    let rename = || admin.change("alpha", &json!({"agent_handle": huge}));
    world.stores_nothing(|| rename().invalid_at(&["body", "agent_handle"]));
}

#[test]
fn several_faults_are_told_at_once_or_one_by_one_but_always_placed() {
    let world = World::new();
    let body = json!({"agent_handle": 7, "imessage_enabled": "yes", "tunnel": {"tls_mode": 1}});
    let faults = world.stores_nothing(|| world.admin().post("/identities/", &body).must_be(422)).detail();
    let placed =
        |fault: &Value| fault["loc"][0] == "body" && fault["loc"].as_array().is_some_and(|loc| loc.len() > 1);
    assert!(faults.as_array().unwrap().iter().all(placed), "{faults}");
}

#[test]
fn an_error_is_small_however_much_is_wrong() {
    let world = World::new();
    let admin = world.admin();
    let tunnel = admin.create("alpha")["tunnel"]["id"].as_str().unwrap().to_owned();
    let many: Vec<String> = (0..50_000).map(|place| format!("\"unknown-{place}\":1,")).collect();
    let many = many.concat();
    let long = format!("\"{}\":1,", "n".repeat(900_000));
    let value = format!("\"filter_mode\":\"{}\",", "v".repeat(900_000));
    for members in [&many, &long, &value] {
        let body = format!("{{{}}}", members.trim_end_matches(','));
        for path in [format!("/tunnels/{tunnel}"), "/mail/mailboxes/alpha".to_owned()] {
            let answer = admin.call(Method::PATCH, &path).body(body.clone()).send();
            assert_eq!(answer.status, 422, "{path}");
            assert!(answer.bytes.len() < 64 * 1024, "{} bytes of error at {path}", answer.bytes.len());
        }
    }
    let query: Vec<String> = (0..2_000).map(|place| format!("&unknown-{place}=1")).collect();
    let answer = admin.get(&format!("/events?limit=1{}", query.concat()));
    assert_eq!(answer.status, 422);
    assert!(answer.bytes.len() < 64 * 1024);
}
