//! `whoami`, which is the first request of a client.

use inkbox::whoami::{
    AUTH_SUBTYPE_API_KEY_ADMIN_SCOPED, AUTH_SUBTYPE_API_KEY_AGENT_SCOPED_CLAIMED, WhoamiApiKeyResponse,
    WhoamiResponse,
};

use crate::harness::{Caller, Refusal, World};

fn ask(caller: &Caller) -> WhoamiApiKeyResponse {
    match caller.client().whoami().unwrap() {
        WhoamiResponse::ApiKey(response) => response,
        WhoamiResponse::Jwt(other) => panic!("a key is not a token: {other:?}"),
    }
}

// Scenario 1.
#[test]
fn an_admin_is_an_admin_of_its_organization() {
    let world = World::new();
    let me = ask(&world.admin());
    assert_eq!(me.auth_type, "api_key");
    assert_eq!(me.auth_subtype.as_deref(), Some(AUTH_SUBTYPE_API_KEY_ADMIN_SCOPED));
    assert_eq!(me.organization_id.as_deref(), Some(world.organization_id()));
    assert!(me.created_at.is_some());
    let key_id = me.key_id.unwrap();
    assert!(world.admin_key().starts_with(&format!("{key_id}.")), "{key_id} is not the id of the key");
}

// Scenario 2.
#[test]
fn an_agent_is_a_claimed_agent_of_its_organization() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let me = ask(&alpha);
    assert_eq!(me.auth_subtype.as_deref(), Some(AUTH_SUBTYPE_API_KEY_AGENT_SCOPED_CLAIMED));
    assert_eq!(me.organization_id.as_deref(), Some(world.organization_id()));
    assert_eq!((me.key_id.as_deref(), me.label.as_deref()), (Some(&*alpha.key_id), Some("alpha")));
    assert_eq!(me.creator_type.as_deref(), Some("human"));
}

// Section 10.1. `a2a_client()` of a published client compares the scope with its identity.
#[test]
fn the_scope_of_a_key_is_an_identity_or_an_organization() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let scope = |caller: &Caller| caller.get("/api/whoami").ok()["scope"].clone();
    assert_eq!(scope(&alpha), format!("agent_identity:{}", alpha.id));
    for caller in [world.admin(), world.auditor()] {
        assert_eq!(scope(&caller), format!("organization:{}", world.organization_id()));
    }
}

#[test]
fn organizations_differ() {
    let world = World::new();
    assert_ne!(ask(&world.admin()).organization_id, ask(&world.other_admin()).organization_id);
}

// Scenario 3.
#[test]
fn nobody_is_nobody() {
    let world = World::new();
    world.stranger().get("/api/whoami").refused(401);
    world.holder_of("wrong").client().whoami().refused(401);
}

// Section 0.1: the path of `whoami` has no version.
#[test]
fn whoami_is_not_versioned() {
    let world = World::new();
    world.admin().get("/api/whoami").ok();
    assert_eq!(world.admin().get("/whoami").refused(404), "Not Found");
}
