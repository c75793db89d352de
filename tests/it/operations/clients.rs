//! Settings for clients: compressed answers, and scripts of other origins.

use identityd::settings::WireLayer;
use reqwest::Method;
use serde_json::json;

use crate::harness::World;

const ORIGIN: &str = "https://app.example";

/// A list that is long enough to be compressed.
fn crowded() -> World {
    let world = World::new();
    world.agents(["alpha", "beta", "gamma", "delta"]);
    world
}

/// To compress takes time, and nobody has to account for it who has no key.
#[test]
fn what_needs_no_key_is_not_compressed_for_each_client() {
    let world = World::new();
    for path in ["/docs", "/docs/page.css", "/healthz"] {
        let call = world.stranger().call_at(Method::GET, path).header("Accept-Encoding", "gzip");
        let response = call.open().unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert!(!response.headers().contains_key("content-encoding"), "{path}");
    }
}

/// The bytes in each coding have a tag of their own.
#[test]
fn the_document_is_sent_as_it_was_compressed_once() {
    let world = World::new();
    let get = |codings: &str, known: Option<&str>| {
        let call = world.stranger().call_at(Method::GET, "/openapi.json").header("Accept-Encoding", codings);
        let call = known.into_iter().fold(call, |call, known| call.header("If-None-Match", known));
        let response = call.open().unwrap();
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("vary").as_deref(), Some("accept-encoding"));
        let (coding, tag) = (header("content-encoding"), header("etag").unwrap());
        (response.status().as_u16(), coding, tag, response.bytes().unwrap())
    };
    let (_, no_coding, plain_tag, plain) = get("identity", None);
    let (_, coding, tag, compressed) = get("br, gzip;q=0.5", None);
    assert_eq!((no_coding, coding.as_deref()), (None, Some("gzip")));
    assert_ne!(tag, plain_tag);
    assert!(compressed.len() < plain.len() / 5, "{} of {}", compressed.len(), plain.len());
    let mut unpacked = vec![];
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*compressed), &mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
    assert_eq!(get("gzip", Some(&tag)).0, 304);
    assert_eq!(get("identity", Some(&plain_tag)).0, 304);
    assert_eq!(get("identity", Some(&tag)).0, 200);
    assert_eq!(get("gzip", Some(&plain_tag)).0, 200);
}

#[test]
fn answers_are_compressed_for_whoever_asks() {
    let world = crowded();
    let admin = world.admin();
    let plain = admin.get("/identities/").must_be(200);
    assert!(!plain.headers.contains_key("content-encoding"));
    let request = admin.call(Method::GET, "/identities/").header("Accept-Encoding", "gzip");
    let compressed = request.open().unwrap();
    assert_eq!(compressed.headers()["content-encoding"], "gzip");
    let varies: Vec<_> = compressed.headers().get_all("vary").iter().collect();
    assert_eq!(varies, ["x-api-key", "accept-encoding"]);
    let tag = compressed.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(tag, format!("W/{}", plain.headers["etag"]), "the tag stands for other bytes");
    let bytes = compressed.bytes().unwrap();
    assert!(bytes.starts_with(&[0x1f, 0x8b]), "no gzip: {bytes:?}");
    assert!(bytes.len() < plain.bytes.len() / 2, "{} of {}", bytes.len(), plain.bytes.len());
}

// A write must not be answered as refused after it was carried out.
#[test]
fn no_coding_that_a_client_forbids_changes_a_status() {
    let world = crowded();
    let admin = world.admin();
    for (number, codings) in
        ["identity;q=0", "*;q=0", "gzip, identity;q=0", "br, *;q=0", "gzip;q=0, identity;q=0", "br;q=1", ""]
            .into_iter()
            .enumerate()
    {
        let call = |method, path: &str| admin.call(method, path).header("Accept-Encoding", codings);
        let body = json!({ "agent_handle": format!("created-{number}") });
        assert_eq!(call(Method::POST, "/identities").json(&body).open().unwrap().status(), 201, "{codings}");
        assert_eq!(call(Method::GET, "/identities/").open().unwrap().status(), 200, "{codings}");
        assert_eq!(call(Method::GET, "/identities/nobody").open().unwrap().status(), 404, "{codings}");
        assert_eq!(call(Method::DELETE, "/identities/alpha/phone_number").open().unwrap().status(), 404);
    }
}

#[test]
fn a_write_may_name_a_tag_that_a_compressing_proxy_made_weak() {
    let world = crowded();
    let admin = world.admin();
    let tag = format!("W/{}", admin.try_identity("alpha").headers["etag"]);
    let change = || admin.call(Method::PATCH, "/identities/alpha").header("If-Match", &tag);
    change().json(&json!({ "description": "once" })).send().ok();
    change().json(&json!({ "description": "twice" })).send().must_be(412);
}

#[test]
fn short_answers_and_streams_of_lines_are_left_alone() {
    let world = crowded();
    let admin = world.admin();
    let encoding = |path: &str, accept: &str| {
        let call = admin.call(Method::GET, path).header("Accept-Encoding", "gzip").header("Accept", accept);
        let response = call.open().unwrap();
        assert_eq!(response.status(), 200);
        response.headers().get("content-encoding").cloned()
    };
    assert_eq!(encoding("/api/whoami", "*/*"), None);
    assert_eq!(encoding("/events", "application/x-ndjson"), None);
    assert_eq!(encoding("/events", "text/event-stream"), None);
}

#[test]
fn an_installation_can_do_without_compression() {
    let world = World::with_wire(WireLayer { compression: Some(false), ..WireLayer::default() });
    world.agents(["alpha", "beta", "gamma", "delta"]);
    let call = world.admin().call(Method::GET, "/identities/").header("Accept-Encoding", "gzip");
    assert!(!call.send().headers.contains_key("content-encoding"));
}

#[test]
fn scripts_of_other_origins_are_let_in_by_setting_alone() {
    let world = World::new();
    let answer = world.admin().call(Method::GET, "/identities/").header("Origin", ORIGIN).send();
    assert!(!answer.headers.keys().any(|name| name.starts_with("access-control")), "{:?}", answer.headers);
}

#[test]
fn an_origin_that_is_set_may_call_and_read_what_it_needs() {
    let origins = Some(vec![ORIGIN.to_owned()]);
    let world = World::with_wire(WireLayer { cors_origins: origins, ..WireLayer::default() });
    let preflight = world
        .stranger()
        .call(Method::OPTIONS, "/identities/alpha")
        .header("Origin", ORIGIN)
        .header("Access-Control-Request-Method", "PATCH")
        .header("Access-Control-Request-Headers", "x-api-key,content-type")
        .open()
        .unwrap();
    assert_eq!(preflight.status(), 200);
    let header = |name: &str| preflight.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("access-control-allow-origin"), ORIGIN);
    assert!(header("access-control-allow-methods").contains("PATCH"));
    assert!(header("access-control-allow-headers").contains("x-api-key"));
    let call = |origin: &str| world.admin().call(Method::GET, "/identities/").header("Origin", origin).send();
    let answer = call(ORIGIN);
    assert_eq!(answer.headers["access-control-allow-origin"], ORIGIN);
    assert!(answer.headers["access-control-expose-headers"].contains("etag"));
    assert!(!call("https://other.example").headers.contains_key("access-control-allow-origin"));
}
