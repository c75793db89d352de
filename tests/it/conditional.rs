//! Entity tags: a client can make a write depend on the version that it has read.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::{Database, NOBODY, World, text};

#[test]
fn an_answer_carries_the_version_and_a_change_raises_it() {
    let world = World::new();
    let created = world.admin().post("/identities", &json!({ "agent_handle": "alpha" })).must_be(201);
    assert_eq!(created.version(), "1");
    let patched = world.admin().patch("/identities/alpha", &json!({ "description": "x" }));
    assert_eq!(patched.version(), "2");
    assert_eq!(world.admin().get("/identities/alpha").headers["etag"], patched.headers["etag"]);
}

#[test]
fn a_write_that_expects_the_present_version_is_done() {
    let world = World::new();
    let [_, bravo] = world.agents(["alpha", "bravo"]);
    let admin = world.admin();
    admin.provision("alpha");
    let access = format!("/identities/alpha/access/{}", bravo.id);
    let writes = [
        (Method::POST, "/identities/alpha/access"),
        (Method::DELETE, access.as_str()),
        (Method::DELETE, "/identities/alpha/phone_number"),
        (Method::DELETE, "/identities/alpha"),
    ];
    for (method, path) in writes {
        let tag = admin.get("/identities/alpha").headers["etag"].clone();
        let body = json!({ "viewer_identity_id": bravo.id });
        let answer = admin.call(method, path).header("If-Match", &tag).json(&body).send();
        assert!(matches!(answer.status, 201 | 204), "{answer}");
        assert_ne!(answer.headers["etag"], tag, "{answer}");
    }
    admin.try_identity("alpha").refused(404);
}

#[test]
fn a_write_about_what_an_identity_gets_or_uses_expects_the_version_of_the_identity() {
    let world = World::new();
    let admin = world.admin();
    let id = text(&admin.create("alpha")["id"]);
    let access = format!("/vault/secrets/{}/access", text(&admin.register_secret("s")["id"]));
    let rule = format!("{access}/{id}");
    let writes = [
        (Method::POST, "/phone/numbers", json!({ "agent_handle": "alpha" }), 201),
        (Method::POST, &access, json!({ "identity_id": id }), 201),
        (Method::DELETE, &rule, json!({}), 204),
    ];
    for (method, path, body, status) in writes {
        let present = admin.get("/identities/alpha");
        let send = |tag| admin.call(method.clone(), path).header("If-Match", tag).json(&body).send();
        let refused = world.stores_nothing(|| send("\"9\"")).must_be(412);
        assert_eq!(refused.version(), present.version(), "{path}");
        send(&present.headers["etag"]).must_be(status);
    }
}

#[test]
fn a_key_and_a_secret_end_at_the_version_that_was_seen_and_at_no_other() {
    let world = World::new();
    let admin = world.admin();
    let id = text(&admin.create("alpha")["id"]);
    let secret = admin.post("/vault/secrets", &json!({ "name": "s" }));
    let key = admin.post("/api-keys", &json!({ "label": "k", "scoped_identity_id": id }));
    let things = [
        (format!("/vault/secrets/{}", text(&secret.json()["id"])), secret),
        (format!("/api-keys/{}", text(&key.json()["record"]["id"])), key),
    ];
    for (path, made) in things {
        let tag = &made.headers["etag"];
        let end = |tag: &str| admin.call(Method::DELETE, &path).header("If-Match", tag).send();
        for other in ["\"9\"", "\"0\"", "W/\"9\""] {
            let refused = world.stores_nothing(|| end(other)).must_be(412);
            assert_eq!(&refused.headers["etag"], tag, "{path}");
        }
        end(tag).no_content();
    }
    let nobody = format!("/api-keys/ApiKey_{NOBODY}");
    admin.call(Method::DELETE, &nobody).header("If-Match", "\"1\"").send().refused(404);
    let nothing = format!("/vault/secrets/{NOBODY}");
    admin.call(Method::DELETE, &nothing).header("If-Match", "\"1\"").send().refused(404);
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
fn tags_in_several_lines_are_one_list() {
    let world = World::new();
    world.admin().create("alpha");
    let with = |method: &str, header: &str, tags: [&str; 2]| {
        let lines = tags.map(|tag| format!("{header}: {tag}\r\n")).concat();
        let headers = format!("X-API-Key: {}\r\n{lines}", world.admin_key());
        world.stranger().raw_with(method, "/api/v1/identities/alpha", headers.as_bytes(), b"{}")
    };
    let weak = format!("W/{}", world.admin().try_identity("alpha").headers["etag"]);
    with("GET", "If-None-Match", ["\"9\"", &weak]).must_be(304);
    with("GET", "If-None-Match", ["\"9\"", "\"8\""]).must_be(200);
    with("PATCH", "If-Match", ["\"9\"", "\"1\""]).must_be(200);
    with("PATCH", "If-Match", ["\"9\"", "W/\"2\""]).must_be(412);
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
        let present = admin.get(&path);
        let tag = present.headers["etag"].clone();
        assert_eq!(present.version(), admin.get("/identities/alpha").version(), "{path}");
        let conditional =
            |method, header: &str| admin.call(method, &path).header(header, &tag).json(&change).send();
        conditional(Method::GET, "If-None-Match").must_be(304);
        conditional(Method::PATCH, "If-Match").ok();
        let refused = world.stores_nothing(|| conditional(Method::PATCH, "If-Match")).must_be(412);
        assert_eq!(refused.version(), admin.get(&path).version(), "{path}");
        conditional(Method::GET, "If-None-Match").ok();
    }
    let stale = admin.call(Method::DELETE, &format!("/phone/numbers/{number}")).header("If-Match", "\"1\"");
    stale.send().must_be(412);
}

// Access rows end with the viewers that they name, without a change of the identity itself.
#[test]
fn the_tag_of_an_identity_changes_with_the_viewers_that_it_names() {
    let world = World::new();
    let admin = world.admin();
    let [_, bravo, carol] = world.agents(["alpha", "bravo", "carol"]);
    let unchanged = |tag: &str| {
        let call = admin.call(Method::GET, "/identities/alpha").header("If-None-Match", tag);
        call.send().status == 304
    };
    admin.grant("alpha", &bravo.id).created();
    admin.grant("alpha", &carol.id).created();
    let both = admin.try_identity("alpha").headers["etag"].clone();
    assert!(unchanged(&both));
    admin.remove("bravo");
    let one = admin.try_identity("alpha").headers["etag"].clone();
    assert!(unchanged(&one) && !unchanged(&both));
    admin.remove("carol");
    let none = admin.try_identity("alpha").headers["etag"].clone();
    assert_eq!(admin.try_identity("alpha").version(), "3");
    assert!(unchanged(&none) && !unchanged(&one));
}

#[test]
fn a_writer_names_a_version_whatever_the_viewers_are() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, bravo, carol] = world.agents(["alpha", "bravo", "carol"]);
    admin.grant("alpha", &bravo.id).created();
    admin.grant("alpha", &carol.id).created();
    let tag = admin.try_identity("alpha").headers["etag"].clone();
    admin.remove("carol");
    let change = |tag: &str, to: &str| {
        let call = admin.call(Method::PATCH, "/identities/alpha").header("If-Match", tag);
        call.json(&json!({ "description": to })).send()
    };
    let changed = change(&tag, "one").must_be(200);
    assert_eq!(changed.headers["etag"], admin.try_identity("alpha").headers["etag"]);
    change(&tag, "two").must_be(412);
    change("\"4\"", "three").must_be(200);
    assert_eq!(alpha.try_identity("alpha").version(), "5");
}

// The tag of an agent's list must not change with events that the agent may not see.
#[test]
fn the_tag_of_a_list_changes_for_an_agent_with_what_it_is_shown_and_with_nothing_else() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    let tag = || alpha.get("/identities/").headers["etag"].clone();
    let before = tag();
    admin.create("hidden");
    admin.change("hidden", &json!({ "description": "nobody else's business" })).ok();
    assert_eq!(tag(), before);
    alpha.call(Method::GET, "/identities/").header("If-None-Match", &before).send().must_be(304);
    admin.open("hidden");
    assert_ne!(tag(), before);
}

// A new identity gets the handle, and with it the URL, of a deleted one.
#[test]
fn a_tag_of_one_identity_names_no_version_of_another() {
    let world = World::with_name_hold(Duration::ZERO);
    let admin = world.admin();
    admin.create("alpha");
    let tag = admin.try_identity("alpha").headers["etag"].clone();
    admin.remove("alpha");
    admin.create("alpha");
    assert_ne!(admin.try_identity("alpha").headers["etag"], tag);
    let call = admin.call(Method::PATCH, "/identities/alpha").header("If-Match", &tag);
    world.stores_nothing(|| call.json(&json!({ "description": "meant for another" })).send()).must_be(412);
}

#[test]
fn the_tag_of_access_rows_changes_with_their_viewers() {
    let world = World::new();
    let admin = world.admin();
    let [_, bravo] = world.agents(["alpha", "bravo"]);
    admin.grant("alpha", &bravo.id).created();
    let tag = admin.get("/identities/alpha/access").headers["etag"].clone();
    let again = || admin.call(Method::GET, "/identities/alpha/access").header("If-None-Match", &tag).send();
    again().must_be(304);
    admin.remove("bravo");
    again().must_be(200);
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
        // The list of keys does not change with an identity, so a key is issued, too.
        admin.mint_auditor();
        again().must_be(200);
    }
}

#[test]
fn a_tag_of_a_history_that_was_set_back_is_not_taken_for_one_of_the_same_version() {
    let world = World::new();
    world.admin().create("alpha");
    let bravo = world.agent("bravo");
    world.database().back_up();
    let parts = |world: &World| {
        let tunnel = text(&world.admin().identity("alpha")["tunnel"]["id"]);
        ["/identities/alpha".to_owned(), "/mail/mailboxes/alpha".to_owned(), format!("/tunnels/{tunnel}")]
    };
    // A grant changes the version, but nothing else of the document.
    world.admin().grant("alpha", &bravo.id).created();
    let lost: Vec<(String, String)> =
        parts(&world).map(|path| (path.clone(), world.admin().get(&path).headers["etag"].clone())).into();
    let world = world.restarted_after(Database::restore);
    world.admin().open("alpha");
    let version = |tag: &str| tag.split('-').next().map(str::to_owned);
    let present = world.admin().get("/identities/alpha").headers["etag"].clone();
    for (path, tag) in lost {
        assert_eq!(version(&tag), version(&present), "both have the same version");
        let write = |tag: &str| {
            let body = if path.starts_with("/tunnels") {
                json!({ "metadata": {} })
            } else if path.starts_with("/mail") {
                json!({ "filter_mode": "blacklist" })
            } else {
                json!({ "display_name": null })
            };
            world.admin().call(Method::PATCH, &path).header("If-Match", tag).json(&body).send()
        };
        write(&tag).must_be(412);
        assert_eq!(world.admin().get("/identities/alpha").headers["etag"], present, "nothing was written");
    }
}
