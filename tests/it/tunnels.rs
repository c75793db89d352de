//! Tunnels: one for each identity, read in two forms, with metadata.

use inkbox::identities::IdentityTunnelCreateOptions;
use inkbox::tunnels::{TLSMode, TunnelStatus, TunnelStatusValue};
use serde_json::{Map, Value, json};

use crate::harness::{Answer, Caller, NOBODY, Refusal, Wish, World, text};

fn path(identity: &Value) -> String {
    format!("/tunnels/{}", text(&identity["tunnel"]["id"]))
}

fn describe(caller: &Caller, path: &str, metadata: &Value) -> Answer {
    caller.patch(path, &json!({"metadata": metadata}))
}

// Scenario 43 and decision D14.
#[test]
fn every_living_tunnel_is_listed_in_an_envelope() {
    let world = World::new();
    let admin = world.admin();
    for handle in ["alpha", "bravo", "carol"] {
        admin.create(handle);
    }
    admin.remove("bravo");
    let mut names: Vec<_> =
        admin.client().tunnels().list().unwrap().into_iter().map(|tunnel| tunnel.tunnel_name).collect();
    names.sort();
    assert_eq!(names, ["alpha", "carol"]);
    assert_eq!(admin.tunnels().len(), 2);
}

// Scenario 43.
#[test]
fn the_full_tunnel_says_more_than_its_summary() {
    let world = World::new();
    let admin = world.admin();
    let created = admin.create("alpha");
    let full = admin.get(&path(&created)).ok();
    for (name, value) in created["tunnel"].as_object().unwrap() {
        assert_eq!(&full[name], value, "{name}");
    }
    assert_eq!(full["organization_id"], world.organization_id());
    assert_eq!(full["currently_connected"], json!(false));
    assert_eq!(full["metadata"], json!({}));
    for unset in ["cert_pem", "cert_fingerprint_sha256", "cert_expires_at", "last_connected_at"] {
        assert_eq!(full.get(unset), Some(&Value::Null), "{unset}");
    }
    assert_eq!(admin.tunnels(), [full]);
}

#[test]
fn the_client_reads_both_kinds_of_tunnel() {
    let world = World::new();
    let client = world.admin();
    let client = client.client();
    let options = IdentityTunnelCreateOptions { tls_mode: Some("passthrough".to_owned()) };
    Wish { tunnel: Some(options), ..Wish::default() }.create(client, "alpha").unwrap();
    Wish::default().create(client, "bravo").unwrap();
    let mut kinds: Vec<_> = client.tunnels().list().unwrap();
    kinds.sort_by(|left, right| left.tunnel_name.cmp(&right.tunnel_name));
    assert_eq!(
        (kinds[0].tls_mode, &kinds[0].status),
        (TLSMode::Passthrough, &known(TunnelStatus::AwaitingCert))
    );
    assert_eq!((kinds[1].tls_mode, &kinds[1].status), (TLSMode::Edge, &known(TunnelStatus::Active)));
}

fn known(status: TunnelStatus) -> TunnelStatusValue {
    TunnelStatusValue::Known(status)
}

// Scenario 44.
#[test]
fn metadata_is_set_cleared_or_left_alone() {
    let world = World::new();
    let admin = world.admin();
    let id = admin.client().create_identity("alpha").unwrap().tunnel().unwrap().id.to_string();
    let tunnels = admin.client().tunnels();
    let note = Map::from_iter([("a".to_owned(), json!(1))]);
    assert_eq!(tunnels.update(&id, Some(Some(note.clone()))).unwrap().metadata["a"], json!(1));
    assert_eq!(tunnels.get(&id).unwrap().metadata["a"], json!(1));
    let kept = world.stores_nothing(|| tunnels.update(&id, None).unwrap());
    assert_eq!(kept.metadata["a"], json!(1));
    assert!(tunnels.update(&id, Some(None)).unwrap().metadata.is_empty());
    tunnels.update(&id, Some(Some(note))).unwrap();
    assert!(tunnels.update(&id, Some(Some(Map::new()))).unwrap().metadata.is_empty());
}

#[test]
fn metadata_comes_back_to_the_letter() {
    let world = World::new();
    let admin = world.admin();
    let path = path(&admin.create("alpha"));
    let note = json!({
        "": "empty key", "grüße": "🛶", "nested": {"list": [null, true, -1.5, [], {}]}, "null": null,
        "big": 9_007_199_254_740_993_i64, "status_at": "not a time", "filter_mode": null
    });
    assert_eq!(describe(&admin, &path, &note).ok()["metadata"], note);
    assert_eq!(admin.get(&path).ok()["metadata"], note);
    let unchanged = world.stores_nothing(|| describe(&admin, &path, &note).ok());
    assert_eq!(unchanged, admin.get(&path).ok());
}

// Scenario 44.
#[test]
fn metadata_has_at_most_4_kilobytes() {
    let world = World::new();
    let admin = world.admin();
    let path = path(&admin.create("alpha"));
    let of_size = |bytes: usize| json!({"k": "x".repeat(bytes - r#"{"k":""}"#.len())});
    let most = of_size(4096);
    assert_eq!(describe(&admin, &path, &most).ok()["metadata"], most);
    let refused = || describe(&admin, &path, &of_size(4097)).invalid_at(&["body", "metadata"]);
    world.stores_nothing(refused);
    // Bytes, not characters.
    let wide = json!({"k": "ü".repeat(2_100)});
    world.stores_nothing(|| describe(&admin, &path, &wide).invalid_at(&["body", "metadata"]));
    assert_eq!(admin.get(&path).ok()["metadata"], most);
}

/// 127 objects in each other, the body being the first, are as many as a body may have.
#[test]
fn metadata_is_nested_as_deep_as_a_body_may_be() {
    let world = World::new();
    let admin = world.admin();
    let path = path(&admin.create("alpha"));
    let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }));
    assert_eq!(describe(&admin, &path, &nested(126)).ok()["metadata"], nested(126));
    world.stores_nothing(|| describe(&admin, &path, &nested(127)).must_be(422));
    assert_eq!(admin.get(&path).ok()["metadata"], nested(126));
}

#[test]
fn metadata_is_an_object() {
    let world = World::new();
    let admin = world.admin();
    let path = path(&admin.create("alpha"));
    for wrong in [json!("x"), json!(1), json!([1]), json!(true)] {
        world.stores_nothing(|| describe(&admin, &path, &wrong).invalid_at(&["body", "metadata"]));
    }
}

// Decision D16.
#[test]
fn nothing_but_metadata_can_be_changed() {
    let world = World::new();
    let admin = world.admin();
    let path = path(&admin.create("alpha"));
    for field in ["tls_mode", "tunnel_name", "status", "unknown"] {
        let attempt = || admin.patch(&path, &json!({field: "edge", "metadata": {"a": 1}}));
        let fault = world.stores_nothing(|| attempt().invalid_at(&["body", field]));
        assert_eq!(fault["type"], "extra_forbidden");
    }
}

// Section 7.1.
#[test]
fn an_agent_is_shown_no_tunnel_but_its_own() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    let foreign = path(&admin.create("bravo"));
    admin.open("bravo");
    assert_eq!(alpha.client().tunnels().list().unwrap().len(), 1);
    alpha.get(&foreign).refused(404);
    let own = path(&alpha.identity("alpha"));
    assert_eq!(describe(&alpha, &own, &json!({"mine": true})).ok()["metadata"], json!({"mine": true}));
    let refused = world.stores_nothing(|| describe(&alpha, &foreign, &json!({"mine": true})));
    assert!(matches!(refused.status, 403 | 404), "{refused}");
}

#[test]
fn unknown_and_malformed_ids_of_tunnels() {
    let world = World::new();
    let admin = world.admin();
    let tunnels = admin.client().tunnels();
    tunnels.get(NOBODY).refused(404);
    tunnels.get("nonsense").invalid();
    tunnels.update(NOBODY, None).refused(404);
    admin.patch("/tunnels/nonsense", &json!({})).invalid_at(&["path"]);
}
