//! Random histories over HTTP: a query as of a moment gets the answer that was given at that moment.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::Config;
use reqwest::Method;
use serde_json::{Value, json};

use super::Caller;
use crate::harness::{World, text};

const HANDLES: [&str; 4] = ["alpha", "bravo", "carol", "delta"];

#[derive(Debug, Clone)]
enum Act {
    Create(usize),
    Rename(usize, usize),
    Change(usize, Value),
    Grant(usize, usize),
    Open(usize),
    Revoke(usize, usize),
    Provision(usize),
    Release(usize),
    Sign(usize),
    Forward(usize),
    Delete(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let one = 0..HANDLES.len();
    let two = || (0..HANDLES.len(), 0..HANDLES.len());
    let changes = prop_oneof![
        "[a-z]{0,3}".prop_map(|name| json!({"display_name": name})),
        Just(json!({"display_name": null, "description": "d"})),
        Just(json!({"status": "paused"})),
        Just(json!({"status": "active", "imessage_enabled": true})),
        Just(json!({"mail_filter_mode": "whitelist", "imessage_filter_mode": "whitelist"})),
        Just(json!({"mail_outbound_filter_mode": "whitelist", "contact_sharing_enabled": false})),
        Just(json!({"phone_inbound_filter_mode": "whitelist"})),
        Just(json!({"phone_outbound_filter_mode": "whitelist", "contact_sharing_enabled": true})),
    ];
    let act = prop_oneof![
        4 => one.clone().prop_map(Act::Create),
        1 => two().prop_map(|(from, to)| Act::Rename(from, to)),
        3 => (one.clone(), changes).prop_map(|(who, change)| Act::Change(who, change)),
        4 => two().prop_map(|(target, viewer)| Act::Grant(target, viewer)),
        1 => one.clone().prop_map(Act::Open),
        2 => two().prop_map(|(target, viewer)| Act::Revoke(target, viewer)),
        1 => one.clone().prop_map(Act::Provision),
        1 => one.clone().prop_map(Act::Release),
        1 => one.clone().prop_map(Act::Sign),
        1 => one.clone().prop_map(Act::Forward),
        2 => one.prop_map(Act::Delete),
    ];
    proptest::collection::vec(act, 1..30)
}

impl Act {
    /// Sends the request. It may be refused.
    fn happen(&self, admin: &Caller, ids: &mut BTreeMap<&str, String>) {
        let id = |who: &usize| ids.get(HANDLES[*who]).cloned().unwrap_or_default();
        let path = |who: &usize| format!("/identities/{}", HANDLES[*who]);
        match self {
            Self::Create(who) => {
                let answer = admin.try_create(HANDLES[*who], json!({}));
                if answer.status == 201 {
                    ids.insert(HANDLES[*who], text(&answer.json()["id"]));
                }
            }
            Self::Rename(from, to) => {
                let renamed =
                    admin.change(HANDLES[*from], &json!({"agent_handle": HANDLES[*to], "description": "r"}));
                if let (200, Some(id)) = (renamed.status, ids.remove(HANDLES[*from])) {
                    ids.insert(HANDLES[*to], id);
                }
            }
            Self::Change(who, change) => drop(admin.change(HANDLES[*who], change)),
            Self::Grant(target, viewer) => drop(admin.grant(HANDLES[*target], &id(viewer))),
            Self::Open(target) => drop(admin.post(&format!("{}/access", path(target)), &json!({}))),
            Self::Revoke(target, viewer) => drop(admin.revoke(HANDLES[*target], &id(viewer))),
            Self::Provision(who) => {
                drop(admin.post("/phone/numbers", &json!({"agent_handle": HANDLES[*who]})));
            }
            Self::Release(who) => {
                drop(admin.call(Method::DELETE, &format!("{}/phone_number", path(who))).send());
            }
            Self::Sign(who) => {
                let mailbox = format!("/mail/mailboxes/{}", HANDLES[*who]);
                drop(
                    admin.patch(&mailbox, &json!({"signature_html": "<b>A</b>", "signature_enabled": true})),
                );
            }
            Self::Forward(who) => {
                let body = json!({"agent_identity_id": ids.get(HANDLES[*who]), "incoming_call_action": "forward",
                    "forwarding_target_type": "phone", "forwarding_phone_number": "+12125550199"});
                drop(admin.put("/phone/incoming-call-action", &body));
            }
            Self::Delete(who) => drop(admin.delete(&path(who))),
        }
    }
}

/// Bodies of identities, by id and handle in one text, and by version.
type Versions = BTreeMap<(String, String), Vec<u8>>;

/// Everything that an admin was answered at one moment.
struct Answered {
    moment: String,
    list: Vec<u8>,
    single: Vec<(u16, Vec<u8>)>,
}

/// The moment of the last event.
fn moment(world: &World) -> String {
    let sequence = world.database().number("select max(position) from events");
    let query = "select (extract(epoch from recorded_at) * 1000000)::bigint from events where position = ";
    let microseconds = world.database().number(&format!("{query}{sequence}"));
    let moment = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(microseconds) * 1000).unwrap();
    identity_log::recorded::timestamp(moment)
}

fn look(world: &World, admin: &Caller, versions: &mut Versions) -> Answered {
    let single = HANDLES.map(|handle| {
        let answer = admin.try_identity(handle);
        if answer.status == 200 {
            let version = (handle.to_owned(), answer.version());
            let id = text(&answer.json()["id"]);
            versions
                .entry((format!("{id} {}", version.0), version.1))
                .or_insert_with(|| answer.bytes.clone());
            return (200, answer.bytes);
        }
        (answer.status, vec![])
    });
    Answered { moment: moment(world), list: admin.get("/identities").bytes, single: single.to_vec() }
}

fn ask_again(admin: &Caller, answered: &Answered) {
    let as_of = format!("as_of={}", answered.moment);
    let list = admin.get(&format!("/identities?{as_of}"));
    assert_eq!(String::from_utf8_lossy(&list.bytes), String::from_utf8_lossy(&answered.list));
    for (handle, (status, body)) in HANDLES.iter().zip(&answered.single) {
        let answer = admin.get(&format!("/identities/{handle}?{as_of}")).must_be(*status);
        if *status == 200 {
            assert_eq!(String::from_utf8_lossy(&answer.bytes), String::from_utf8_lossy(body));
        }
    }
}

/// Compares versions of identities by their sequence. An identity is found by its handle until another one takes the
/// handle.
fn ask_for_versions(admin: &Caller, versions: &Versions) {
    for ((who, version), body) in versions {
        let (id, handle) = who.split_once(' ').unwrap();
        let answer = admin.get(&format!("/identities/{handle}?as_of=sequence:{version}"));
        if answer.status == 200 && answer.json()["id"] == id {
            assert_eq!(String::from_utf8_lossy(&answer.bytes), String::from_utf8_lossy(body));
        } else {
            let namesakes =
                versions.keys().filter(|(other, _)| other.ends_with(&format!(" {handle}")) && other != who);
            assert!(namesakes.count() > 0, "{answer} is not version {version} of {who}");
        }
    }
}

/// Carries out the acts, and looks after each.
fn live(world: &World, admin: &Caller, acts: &[Act]) -> (Vec<Answered>, Versions) {
    let (mut ids, mut versions) = (BTreeMap::new(), BTreeMap::new());
    for handle in HANDLES {
        let answer = admin.try_identity(handle);
        if answer.status == 200 {
            ids.insert(handle, text(&answer.json()["id"]));
        }
    }
    let mut answered = vec![look(world, admin, &mut versions)];
    for act in acts {
        act.happen(admin, &mut ids);
        answered.push(look(world, admin, &mut versions));
    }
    (answered, versions)
}

proptest! {
    #![proptest_config(Config { cases: 12, max_shrink_iters: 40, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_past_is_answered_as_it_was(acts in acts()) {
        let world = World::with_name_hold(Duration::ZERO);
        let admin = world.admin();
        let (answered, versions) = live(&world, &admin, &acts);
        for answered in &answered {
            ask_again(&admin, answered);
        }
        ask_for_versions(&admin, &versions);
    }
}

/// How many events an identity has when its state is stored.
const STORED_AFTER: usize = 256;

proptest! {
    #![proptest_config(Config { cases: 3, max_shrink_iters: 10, failure_persistence: None, ..Config::default() })]

    // Two identities get old enough in the course of the acts.
    #[test]
    fn the_past_is_answered_as_it_was_with_stored_states_and_without(early in 1..8_usize, acts in acts()) {
        let world = World::with_name_hold(Duration::ZERO);
        let admin = world.admin();
        for handle in &HANDLES[..2] {
            admin.create(handle);
            for number in 1..STORED_AFTER - early {
                admin.change(handle, &json!({"description": number.to_string()})).ok();
            }
        }
        let (answered, versions) = live(&world, &admin, &acts);
        for forget in ["select", "truncate read_model.identity_states"] {
            world.database().execute(forget);
            for answered in &answered {
                ask_again(&admin, answered);
            }
            ask_for_versions(&admin, &versions);
        }
    }
}
