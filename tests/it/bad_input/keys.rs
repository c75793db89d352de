//! Invalid keys.

use reqwest::Method;
use serde_json::json;

use crate::harness::{NOBODY, Refusal, World};

/// Every route, with its method.
fn routes() -> Vec<(Method, String)> {
    let (get, post, patch, delete) = (Method::GET, Method::POST, Method::PATCH, Method::DELETE);
    let one = |folder: &str| format!("{folder}/{NOBODY}");
    let routes = [
        (&get, "/api/whoami".to_owned()),
        (&get, "/identities/".to_owned()),
        (&post, "/identities/".to_owned()),
        (&get, "/identities/alpha".to_owned()),
        (&patch, "/identities/alpha".to_owned()),
        (&delete, "/identities/alpha".to_owned()),
        (&delete, "/identities/alpha/phone_number".to_owned()),
        (&get, "/identities/alpha/access".to_owned()),
        (&post, "/identities/alpha/access".to_owned()),
        (&delete, one("/identities/alpha/access")),
        (&get, "/phone/numbers".to_owned()),
        (&post, "/phone/numbers".to_owned()),
        (&get, one("/phone/numbers")),
        (&patch, one("/phone/numbers")),
        (&delete, one("/phone/numbers")),
        (&get, "/tunnels/".to_owned()),
        (&get, one("/tunnels")),
        (&patch, one("/tunnels")),
        (&get, "/mail/mailboxes".to_owned()),
        (&get, "/mail/mailboxes/alpha".to_owned()),
        (&patch, "/mail/mailboxes/alpha".to_owned()),
        (&get, "/api-keys".to_owned()),
        (&post, "/api-keys".to_owned()),
        (&get, "/api-keys/self".to_owned()),
        (&delete, one("/api-keys")),
        (&get, "/vault/secrets".to_owned()),
        (&post, "/vault/secrets".to_owned()),
        (&delete, one("/vault/secrets")),
        (&get, format!("{}/access", one("/vault/secrets"))),
        (&post, format!("{}/access", one("/vault/secrets"))),
        (&delete, format!("{}/access/{NOBODY}", one("/vault/secrets"))),
    ];
    routes.map(|(method, path)| (method.clone(), path)).to_vec()
}

// Scenario 3.
#[test]
fn every_route_asks_for_a_key_before_anything_else() {
    let world = World::new();
    world.admin().create("alpha");
    let stranger = world.stranger();
    for (method, path) in routes() {
        // The body is wrong, too, but a caller without a key is not told.
        let send = || stranger.call(method, &path).body("{").send();
        world.stores_nothing(|| send().refused(401));
    }
}

// Scenario 3.
#[test]
fn the_client_is_told_that_its_key_is_wrong() {
    let world = World::new();
    world.holder_of("wrong").client().list_identities().refused(401);
    world.holder_of(&format!("ApiKey_{NOBODY}.secret")).client().list_identities().refused(401);
}

#[test]
fn a_key_is_right_to_the_last_character_or_wrong() {
    let world = World::new();
    let key = world.agent("alpha").key;
    let (id, secret) = key.split_once('.').unwrap();
    let flipped: String = secret.chars().map(|letter| if letter == 'a' { 'b' } else { 'a' }).collect();
    let long = "x".repeat(4_096);
    let wrong = [
        "",
        " ",
        "x",
        ".",
        "ApiKey_",
        "ApiKey_.",
        "null",
        &long,
        id,
        secret,
        &format!("{id}."),
        &format!("{id}.{flipped}"),
        &format!(".{secret}"),
        &format!("{id}{secret}"),
        &format!("{id}:{secret}"),
        &format!("{key}x"),
        &format!("{key}.{secret}"),
        &format!("{key} x"),
        &key[..key.len() - 1],
        &key[1..],
        &format!("ApiKey_{NOBODY}.{secret}"),
        &format!("{id}.{}", secret.to_uppercase()),
        &format!("Bearer {key}"),
        &format!("{key},{key}"),
        &format!("{id}.' or '1'='1"),
        &format!("{id}.%00"),
    ];
    for attempt in wrong {
        world.holder_of(attempt).get("/identities/").refused(401);
    }
    assert!(world.holder_of(&key).sees("alpha"));
}

#[test]
fn a_key_of_any_bytes_is_merely_wrong() {
    let world = World::new();
    let stranger = world.stranger();
    for value in [&b"\xff\xfe"[..], b"\xc3\xa9", b"ApiKey_\x80.\x80", b"\t"] {
        let header = [b"X-API-Key: ", value, b"\r\n"].concat();
        stranger.raw_with("GET", "/api/v1/identities/", &header, b"").refused(401);
    }
}

// Section 0.1: there is one header for keys.
#[test]
fn a_key_in_another_place_does_not_count() {
    let world = World::new();
    let key = world.admin_key();
    let stranger = world.stranger();
    let with =
        |name: &str, value: &str| stranger.call(Method::GET, "/identities/").header(name, value).send();
    with("Authorization", &format!("Bearer {key}")).refused(401);
    with("Authorization", key).refused(401);
    with("Cookie", &format!("X-API-Key={key}")).refused(401);
    stranger.get(&format!("/identities/?api_key={key}")).refused(401);
    with("x-api-key", key).ok();
}

#[test]
fn two_different_keys_are_no_key_whichever_comes_first() {
    let world = World::new();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    let asking = |keys: [&str; 2]| {
        let headers = keys.map(|key| format!("X-API-Key: {key}\r\n")).concat();
        world.stranger().raw_with("GET", "/api/v1/identities/", headers.as_bytes(), b"")
    };
    for other in ["wrong", "", &bravo.key] {
        asking([other, &alpha.key]).refused(401);
        asking([&alpha.key, other]).refused(401);
    }
    asking([&alpha.key, &alpha.key]).ok();
}

#[test]
fn the_keys_of_the_revoked_and_the_deleted_open_no_route() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    admin.delete(&format!("/api-keys/{}", alpha.key_id)).no_content();
    admin.remove("bravo");
    for (method, path) in routes() {
        for dead in [&alpha, &bravo] {
            let send = || dead.call(method.clone(), &path).json(&json!({})).send();
            world.stores_nothing(|| send().refused(401));
        }
    }
}

// All invalid keys get the same answer, so nothing can be learned from trying.
#[test]
fn a_known_id_with_a_wrong_secret_looks_like_an_unknown_id() {
    let world = World::new();
    let key = world.admin_key();
    let (id, secret) = key.split_once('.').unwrap();
    let flipped: String = secret.chars().map(|letter| if letter == 'a' { 'b' } else { 'a' }).collect();
    let refused = |key: &str| world.holder_of(key).get("/identities/").must_be(401).without_request_id();
    assert_eq!(refused(&format!("{id}.{flipped}")), refused(&format!("ApiKey_{NOBODY}.{secret}")));
}
