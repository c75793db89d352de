//! Paths that no route serves, and the spellings of paths.

use reqwest::Method;
use serde_json::json;

use crate::harness::World;

// Decision D20.
#[test]
fn an_unknown_route_is_not_found() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    for path in [
        "/nothing",
        "/identities/alpha/nothing",
        "/identities/alpha/access/a/b",
        "/api/v2/identities",
        "/api/",
    ] {
        assert_eq!(admin.get(path).refused(404), "Not Found", "{path}");
    }
    for target in ["/", "/nothing", "/api/v1", "/identities"] {
        assert_eq!(admin.raw("GET", target, b"").refused(404), "Not Found", "{target}");
    }
}

// Decision D20.
#[test]
fn a_known_route_knows_its_methods() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let wrong = [
        (Method::PUT, "/identities/", "GET,HEAD,POST"),
        (Method::DELETE, "/identities/", "GET,HEAD,POST"),
        (Method::PATCH, "/identities", "GET,HEAD,POST"),
        (Method::POST, "/identities/alpha", "GET,HEAD,PATCH,DELETE"),
        (Method::PUT, "/identities/alpha", "GET,HEAD,PATCH,DELETE"),
        (Method::GET, "/identities/alpha/phone_number", "DELETE"),
        (Method::PATCH, "/identities/alpha/access", "GET,HEAD,POST"),
        (Method::POST, "/tunnels/", "GET,HEAD"),
        (Method::DELETE, "/mail/mailboxes/alpha", "GET,HEAD,PATCH"),
        (Method::POST, "/mail/mailboxes", "GET,HEAD"),
        (Method::POST, "/api/whoami", "GET,HEAD"),
    ];
    for (method, path, allowed) in wrong {
        let answer = world.stores_nothing(|| admin.call(method.clone(), path).send());
        assert_eq!(answer.headers["allow"], allowed, "{answer}");
        assert_eq!(answer.refused(405), "Method Not Allowed", "{method} {path}");
    }
}

#[test]
fn a_head_is_what_get_answers_without_its_body() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    for path in ["/identities/alpha", "/identities", "/tunnels/", "/identities/nobody"] {
        let (get, head) = (admin.get(path), admin.call(Method::HEAD, path).send());
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-type", "content-length", "etag"] {
            assert_eq!(head.headers.get(name), get.headers.get(name), "{path}: {name}");
        }
    }
}

// An encoded slash belongs to the segment, so the path matches no other route.
#[test]
fn an_encoded_slash_does_not_divide_a_path() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.provision("alpha");
    for (method, target) in [
        ("GET", "/api/v1/identities/alpha%2faccess"),
        ("GET", "/api/v1/identities%2falpha"),
        ("GET", "/api/v1/identities/%2f"),
        ("GET", "/api/v1/mail/mailboxes/alpha%2f"),
        ("DELETE", "/api/v1/identities/alpha%2Fphone_number"),
        ("DELETE", "/api/v1/identities/alpha%2f"),
    ] {
        world.stores_nothing(|| admin.raw(method, target, b"").refused(404));
    }
}

#[test]
fn dots_lead_nowhere() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    for target in [
        "/api/v1/identities/..",
        "/api/v1/identities/.",
        "/api/v1/identities/%2e%2e",
        "/api/v1/identities/../identities/alpha",
        "/api/v1/identities/alpha/../alpha",
        "/api/v1/../v1/identities/alpha",
        "/api/v1/mail/mailboxes/..",
        "/api/v1//identities/alpha",
        "//api/v1/identities/alpha",
    ] {
        admin.raw("GET", target, b"").refused(404);
        world.stores_nothing(|| admin.raw("DELETE", target, b"").status >= 400);
    }
    assert!(admin.sees("alpha"));
}

#[test]
fn a_segment_that_is_no_text_names_nobody() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    for segment in ["%ff%fe", "%00", "alpha%00", "%", "%zz", "%e2%82", "%C0%AF", "alpha%0d%0aX-Injected:%201"]
    {
        for folder in ["identities", "mail/mailboxes"] {
            let answer = admin.raw("GET", &format!("/api/v1/{folder}/{segment}"), b"");
            assert!(matches!(answer.status, 400 | 404 | 422), "{answer}");
            assert!(!answer.headers.contains_key("x-injected"), "{answer}");
        }
        world.stores_nothing(|| {
            admin.raw("DELETE", &format!("/api/v1/identities/{segment}"), b"").status >= 400
        });
    }
}

#[test]
fn a_path_of_64_kibibytes_is_refused() {
    let world = World::new();
    let admin = world.admin();
    let long = "a".repeat(60_000);
    admin.raw("GET", &format!("/api/v1/identities/{long}"), b"").refused(404);
    let longer = "a".repeat(64 * 1024);
    let answer = admin.raw("GET", &format!("/api/v1/identities/{longer}"), b"");
    assert!(matches!(answer.status, 404 | 414 | 431), "{answer}");
    assert_eq!(admin.handles(), Vec::<String>::new());
}

// Section 3.1: published clients send no query. Unknown parameters are ignored.
#[test]
fn a_query_changes_nothing() {
    let world = World::new();
    let admin = world.admin();
    let created = admin.create("alpha");
    assert_eq!(admin.get("/identities/?limt=0&agent_handle=nobody&%ff=%00").ok(), json!([created]));
    assert_eq!(admin.identity("alpha?x=1"), created);
}

// SQL in a handle is only a handle that nobody has.
#[test]
fn quotes_are_letters_like_any_other() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    for segment in
        ["alpha'--", "'%20or%20'1'='1", "%22;drop%20table%20events;--", "al%25", "alph_", "{agent_handle}"]
    {
        admin.raw("GET", &format!("/api/v1/identities/{segment}"), b"").refused(404);
        admin.raw("GET", &format!("/api/v1/mail/mailboxes/{segment}"), b"").refused(404);
    }
}
