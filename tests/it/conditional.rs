//! Entity tags: whoever saw an identity can make sure that it is still what was seen.

use reqwest::Method;
use serde_json::json;

use crate::harness::World;

#[test]
fn an_answer_carries_the_version_and_a_change_raises_it() {
    let world = World::new();
    let created = world.admin().post("/identities", &json!({ "agent_handle": "alpha" })).must_be(201);
    assert_eq!(created.headers["etag"], "\"1\"");
    let patched = world.admin().patch("/identities/alpha", &json!({ "description": "x" }));
    assert_eq!(patched.headers["etag"], "\"2\"");
    assert_eq!(world.admin().get("/identities/alpha").headers["etag"], "\"2\"");
}

#[test]
fn a_write_that_expects_another_version_is_refused_with_the_present_one() {
    let world = World::new();
    let bravo = world.agent("bravo");
    world.admin().create("alpha");
    let access = format!("/identities/alpha/access/{}", bravo.id);
    let writes = [
        (Method::PATCH, "/identities/alpha"),
        (Method::DELETE, "/identities/alpha"),
        (Method::POST, "/identities/alpha/access"),
        (Method::DELETE, access.as_str()),
        (Method::DELETE, "/identities/alpha/phone_number"),
    ];
    for (method, path) in writes {
        let call = world.admin().call(method, path).header("If-Match", "\"9\"").json(&json!({}));
        let answer = world.stores_nothing(|| call.send()).must_be(412);
        assert_eq!(answer.headers["etag"], "\"1\"", "{path}");
        assert_eq!(answer.json()["code"], "precondition_failed");
    }
}

#[test]
fn of_two_writers_that_saw_the_same_version_one_wins() {
    let world = World::new();
    world.admin().create("alpha");
    let rename = |to: &str| {
        let call = world.admin().call(Method::PATCH, "/identities/alpha").header("If-Match", "\"1\"");
        call.json(&json!({ "display_name": to })).send().status
    };
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let one = scope.spawn(|| rename("one"));
        let other = scope.spawn(|| rename("other"));
        vec![one.join().unwrap(), other.join().unwrap()]
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
}

#[test]
fn a_reader_who_has_it_all_is_told_no_more_than_that() {
    let world = World::new();
    world.admin().create("alpha");
    for path in ["/identities/alpha", "/identities"] {
        let tag = world.admin().get(path).headers["etag"].clone();
        let again = world.admin().call(Method::GET, path).header("If-None-Match", &tag).send();
        assert_eq!((again.status, again.bytes.len()), (304, 0), "{path}");
        world.admin().patch("/identities/alpha", &json!({ "description": path })).ok();
        world.admin().call(Method::GET, path).header("If-None-Match", &tag).send().ok();
    }
}

#[test]
fn what_an_identity_owns_has_its_version_too() {
    let world = World::new();
    let admin = world.admin();
    let created = admin.create("alpha");
    let number = admin.provision("alpha");
    let (tunnel, number) = (created["tunnel"]["id"].as_str().unwrap(), number["id"].as_str().unwrap());
    let parts = [
        (format!("/tunnels/{tunnel}"), json!({ "metadata": { "a": 1 } })),
        ("/mail/mailboxes/alpha".to_owned(), json!({ "filter_mode": "whitelist" })),
        (format!("/phone/numbers/{number}"), json!({ "incoming_call_action": "hosted_agent" })),
    ];
    for (path, change) in parts {
        let tag = admin.get(&path).headers["etag"].clone();
        assert_eq!(tag, admin.get("/identities/alpha").headers["etag"], "{path}");
        let conditional =
            |method, header: &str| admin.call(method, &path).header(header, &tag).json(&change).send();
        conditional(Method::GET, "If-None-Match").must_be(304);
        conditional(Method::PATCH, "If-Match").ok();
        let refused = world.stores_nothing(|| conditional(Method::PATCH, "If-Match")).must_be(412);
        assert_eq!(refused.headers["etag"], admin.get(&path).headers["etag"], "{path}");
        conditional(Method::GET, "If-None-Match").ok();
    }
    let stale = admin.call(Method::DELETE, &format!("/phone/numbers/{number}")).header("If-Match", "\"1\"");
    stale.send().must_be(412);
}

#[test]
fn every_list_has_a_tag_that_changes_with_it() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let secret = admin.register_secret("s");
    let lists = [
        "/identities/".to_owned(),
        "/identities/alpha/access".to_owned(),
        "/phone/numbers".to_owned(),
        "/tunnels".to_owned(),
        "/mail/mailboxes".to_owned(),
        "/api-keys".to_owned(),
        "/vault/secrets".to_owned(),
        format!("/vault/secrets/{}/access", secret["id"].as_str().unwrap()),
    ];
    for (number, path) in lists.iter().enumerate() {
        let tag = admin.get(path).headers["etag"].clone();
        let again = || admin.call(Method::GET, path).header("If-None-Match", &tag).send();
        assert_eq!(again().must_be(304).headers["etag"], tag, "{path}");
        admin.change("alpha", &json!({ "description": number.to_string() })).ok();
        again().must_be(200);
    }
}
