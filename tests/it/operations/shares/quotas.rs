//! Quotas of a day, for phone numbers and names, which all organizations share, and for rows that stay for ever.

use std::thread;

use identityd::settings::QuotaLayer;
use reqwest::Method;
use serde_json::{Value, json};

use super::refused_for_now;
use crate::harness::{Answer, Caller, World, text};

const DAY: u32 = 24 * 60 * 60;

fn provision(caller: &Caller, handle: &str) -> Answer {
    caller.post("/phone/numbers", &json!({"agent_handle": handle}))
}

#[track_caller]
fn used_up(answer: Answer) {
    let wait = refused_for_now(answer, "quota_used_up");
    assert!((1..=DAY).contains(&wait), "{wait}");
}

// Contract, section 6.2.
#[test]
fn an_identity_gets_five_numbers_a_day_whoever_asks() {
    let world = World::new();
    let (admin, agent) = (world.admin(), world.agent("hostile"));
    for number in 0..5 {
        provision(if number % 2 == 0 { &agent } else { &admin }, "hostile").created();
        agent.delete("/identities/hostile/phone_number").no_content();
    }
    for caller in [&*agent, &admin] {
        world.stores_nothing(|| used_up(provision(caller, "hostile")));
    }
    admin.create("victim");
    provision(&admin, "victim").created();
}

#[test]
fn an_agent_that_asks_in_vain_leaves_its_organization_the_numbers() {
    let world = World::with_quotas(&QuotaLayer {
        identity_numbers_per_day: Some(1),
        organization_numbers_per_day: Some(6),
        ..QuotaLayer::default()
    });
    let (admin, agent) = (world.admin(), world.agent("hostile"));
    provision(&agent, "hostile").created();
    for _ in 0..3 {
        provision(&agent, "hostile").must_be(409);
    }
    for _ in 0..10 {
        used_up(provision(&agent, "hostile"));
    }
    admin.create("victim");
    provision(&admin, "victim").created();
}

// Contract, section 3.3.
#[test]
fn racing_renames_do_not_pass_the_quota_together() {
    let world = World::new();
    let agent = world.agent("hostile");
    let id = agent.id.clone();
    let admin = world.admin();
    let renamed = thread::scope(|scope| {
        let renames: Vec<_> = (0..24)
            .map(|number| {
                let (admin, id) = (&admin, &id);
                scope.spawn(move || {
                    // Another thread may have renamed the identity meanwhile, so the present handle is looked up first.
                    for _ in 0..100 {
                        let present =
                            admin.identities().into_iter().find(|identity| identity["id"] == id_of(id));
                        let present = present.unwrap()["agent_handle"].as_str().unwrap().to_owned();
                        let answer =
                            admin.change(&present, &json!({"agent_handle": format!("hostile-{number}")}));
                        if answer.status != 404 {
                            return answer;
                        }
                    }
                    panic!("never found under its handle")
                })
            })
            .collect();
        renames.into_iter().map(|rename| rename.join().unwrap()).collect::<Vec<_>>()
    });
    let (done, refused): (Vec<_>, Vec<_>) = renamed.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(done.len(), 10);
    refused.into_iter().for_each(used_up);
}

fn id_of(id: &str) -> Value {
    Value::from(id)
}

// Decision D2.
#[test]
fn an_identity_holds_back_the_names_that_it_gave_up_last() {
    let quotas = QuotaLayer {
        identity_names_held: Some(2),
        identity_renames_per_day: Some(0),
        ..QuotaLayer::default()
    };
    let world = World::with_quotas(&quotas);
    let (admin, victim) = (world.admin(), world.other_admin());
    admin.create("name-0");
    for number in 0..5 {
        let next = json!({"agent_handle": format!("name-{}", number + 1)});
        admin.change(&format!("name-{number}"), &next).ok();
    }
    for held in ["name-4", "name-3"] {
        victim.try_create(held, json!({})).handle_unavailable("identities");
    }
    for free in ["name-1", "name-2"] {
        victim.create(free);
    }
    // The name is still the mail address of the identity.
    victim.try_create("name-0", json!({})).handle_unavailable("identities");
    // Another organization has the name since it was free. A rename does not take it back.
    admin.change("name-5", &json!({"agent_handle": "name-2"})).handle_unavailable("identities");
}

fn create(caller: &Caller, handle: &str) -> Answer {
    caller.try_create(handle, json!({}))
}

#[test]
fn organizations_and_keys_have_quotas_of_a_day() {
    let one = Some(1);
    let quotas = QuotaLayer {
        organization_identities_per_day: Some(2),
        organization_numbers_per_day: one,
        organization_secrets_per_day: one,
        key_keys_per_day: one,
        key_openings_per_day: one,
        key_grants_per_day: one,
        key_idempotency_keys_per_day: one,
        ..QuotaLayer::default()
    };
    let world = World::with_quotas(&quotas);
    let (hostile, victim) = (world.admin(), world.other_admin());
    for handle in ["alpha", "bravo"] {
        create(&hostile, handle).created();
    }
    let viewer = hostile.identity("bravo")["id"].clone();
    let calls: [(Method, &str, Value); 6] = [
        (Method::POST, "/phone/numbers", json!({"agent_handle": "alpha"})),
        (Method::POST, "/vault/secrets", json!({"name": "secret"})),
        (Method::POST, "/api-keys", json!({"label": "auditor", "scope": "auditor"})),
        (Method::POST, "/identities/alpha/access", json!({"viewer_identity_id": viewer})),
        (Method::POST, "/identities/alpha/access", json!({})),
        (Method::PATCH, "/identities/alpha", json!({"description": "changed"})),
    ];
    let call = |caller: &Caller, (method, path, body): &(Method, &str, Value)| {
        let call = caller.call(method.clone(), path).json(body);
        if method == Method::PATCH { call.header("Idempotency-Key", &uuid()).send() } else { call.send() }
    };
    for wanted in &calls {
        let first = call(&hostile, wanted);
        assert!((200..300).contains(&first.status), "{first}");
        world.stores_nothing(|| used_up(call(&hostile, wanted)));
    }
    world.stores_nothing(|| used_up(create(&hostile, "carol")));
    // Another organization has its own quotas.
    victim.create("victim");
    victim.post("/vault/secrets", &json!({"name": "secret"})).created();
}

#[test]
fn all_other_changes_have_a_quota_of_a_day_and_what_ends_something_is_free() {
    let quotas = QuotaLayer {
        organization_changes_per_day: Some(7),
        agent_changes_per_day: Some(2),
        ..QuotaLayer::default()
    };
    let world = World::with_quotas(&quotas);
    let (admin, agent) = (world.admin(), world.agent("hostile"));
    let describe = |caller: &Caller| caller.change("hostile", &json!({"description": uuid()}));
    let subscription = json!({"agent_identity_id": agent.id, "url": "https://harbor.example/",
                              "event_types": ["identity.updated"]});
    let subscribe = |caller: &Caller| caller.post("/webhooks/subscriptions", &subscription);
    let endpoint = || admin.post("/webhooks/log-endpoints", &json!({"url": "https://harbor.example/"}));
    let subscribed = subscribe(&agent).created();
    describe(&agent).ok();
    world.stores_nothing(|| used_up(describe(&agent)));
    world.stores_nothing(|| used_up(subscribe(&agent)));
    // What the key of an agent may not do any more counts for nobody else.
    let created = endpoint().created();
    for _ in 0..4 {
        describe(&admin).ok();
    }
    used_up(describe(&admin));
    used_up(subscribe(&admin));
    used_up(endpoint());
    let path = format!("/webhooks/log-endpoints/{}", text(&created["id"]));
    used_up(admin.post(&format!("{path}/replay"), &json!({"after": 0})));
    used_up(admin.post("/identities/hostile/signing-key", &json!({})));
    // Another organization has its own quota.
    world.other_admin().create("victim");
    world.other_admin().change("victim", &json!({"description": "changed"})).ok();
    for ended in [
        path,
        format!("/webhooks/subscriptions/{}", text(&subscribed["id"])),
        format!("/api-keys/{}", agent.key_id),
        "/identities/hostile".to_owned(),
    ] {
        admin.delete(&ended).no_content();
    }
}

fn uuid() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("key-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
