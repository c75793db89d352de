//! After any history, a rebuilt table equals the live one, byte for byte.

use identity_log::{Recorded, read};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use sqlx::Executor as _;

use super::words::{BESIDE, LIVE, names};
use crate::harness::{Caller, World, text, wait};

/// A request of an admin. The numbers choose among the identities, keys and secrets.
#[derive(Debug, Clone)]
enum Step {
    Create(usize),
    Rename(usize, usize),
    Describe(usize, String),
    Pause(usize),
    Grant(usize, usize),
    Open(usize),
    Revoke(usize, usize),
    Provision(usize),
    Filter(usize, &'static str, bool),
    Sign(usize, String),
    Forward(usize),
    ReleaseNumber(usize),
    TunnelMetadata(usize, u8),
    Delete(usize),
    Register(String),
    Allow(usize, usize),
    Forbid(usize, usize),
    Forget(usize),
    Mint(usize),
    RotateKey(usize),
    RevokeKey(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let one = 0..5_usize;
    let two = (0..5_usize, 0..5_usize);
    prop_oneof![
        4 => one.clone().prop_map(Step::Create),
        2 => two.clone().prop_map(|(from, to)| Step::Rename(from, to)),
        2 => (one.clone(), "[a-z\"\\\\é☎ ]{0,12}").prop_map(|(of, words)| Step::Describe(of, words)),
        1 => one.clone().prop_map(Step::Pause),
        3 => two.clone().prop_map(|(target, viewer)| Step::Grant(target, viewer)),
        2 => one.clone().prop_map(Step::Open),
        2 => two.clone().prop_map(|(target, viewer)| Step::Revoke(target, viewer)),
        2 => one.clone().prop_map(Step::Provision),
        2 => (one.clone(), proptest::sample::select(FILTERS.to_vec()), any::<bool>())
            .prop_map(|(of, field, strict)| Step::Filter(of, field, strict)),
        1 => (one.clone(), "[a-z<>é ]{0,8}").prop_map(|(of, html)| Step::Sign(of, html)),
        1 => one.clone().prop_map(Step::Forward),
        1 => one.clone().prop_map(Step::ReleaseNumber),
        1 => (one.clone(), any::<u8>()).prop_map(|(of, value)| Step::TunnelMetadata(of, value)),
        1 => one.clone().prop_map(Step::Delete),
        2 => "[a-zé☎ ]{1,8}".prop_map(Step::Register),
        3 => two.clone().prop_map(|(secret, identity)| Step::Allow(secret, identity)),
        1 => two.prop_map(|(secret, identity)| Step::Forbid(secret, identity)),
        1 => one.clone().prop_map(Step::Forget),
        2 => one.clone().prop_map(Step::Mint),
        2 => one.clone().prop_map(Step::RotateKey),
        1 => one.prop_map(Step::RevokeKey),
    ]
}

const FILTERS: [&str; 4] =
    ["mail_inbound_filter_mode", "phone_outbound_filter_mode", "imessage_filter_mode", "mail_filter_mode"];

/// An admin, with the secrets and keys that it has created.
struct Actor {
    admin: Caller,
    secrets: Vec<Value>,
    keys: Vec<Value>,
}

impl Actor {
    /// Sends a request. It may be refused: the tables are compared with the history that results.
    fn does(&mut self, step: Step) {
        let admin = &self.admin;
        match step {
            Step::Create(number) => drop(admin.try_create(&handle(number), json!({}))),
            Step::Rename(from, to) => drop(admin.change(&handle(from), &json!({"agent_handle": handle(to)}))),
            Step::Describe(of, words) => drop(admin.change(&handle(of), &json!({"description": words}))),
            Step::Pause(of) => drop(admin.change(&handle(of), &json!({"status": "paused"}))),
            Step::Grant(target, viewer) => drop(admin.grant(&handle(target), &self.id(viewer))),
            Step::Open(target) => {
                drop(admin.post(
                    &format!("/identities/{}/access", handle(target)),
                    &json!({"viewer_identity_id": null}),
                ));
            }
            Step::Revoke(target, viewer) => drop(admin.revoke(&handle(target), &self.id(viewer))),
            Step::Provision(of) => {
                drop(admin.post("/phone/numbers", &json!({"agent_handle": handle(of), "state": "NY"})));
            }
            Step::Filter(of, field, strict) => {
                let mode = if strict { "whitelist" } else { "blacklist" };
                drop(admin.change(&handle(of), &json!({field: mode, "contact_sharing_enabled": strict})));
            }
            Step::Sign(of, html) => {
                let mailbox = format!("/mail/mailboxes/{}", handle(of));
                drop(admin.patch(&mailbox, &json!({"signature_html": html})));
            }
            Step::Forward(of) => drop(admin.put(
                "/phone/incoming-call-action",
                &json!({"agent_identity_id": self.id(of), "incoming_call_action": "forward",
                    "forwarding_target_type": "phone", "forwarding_phone_number": "+12125550199"}),
            )),
            Step::ReleaseNumber(of) => {
                drop(admin.delete(&format!("/identities/{}/phone_number", handle(of))));
            }
            Step::TunnelMetadata(of, value) => self.describe_tunnel(of, value),
            Step::Delete(of) => drop(admin.delete(&format!("/identities/{}", handle(of)))),
            Step::Register(name) => {
                let answer = admin.post("/vault/secrets", &json!({"name": name}));
                self.secrets.extend((answer.status == 201).then(|| answer.json()));
            }
            Step::Allow(..) | Step::Forbid(..) | Step::Forget(_) => self.guards_secrets(&step),
            Step::Mint(of) => {
                let answer =
                    admin.post("/api-keys", &json!({"label": "é", "scoped_identity_id": self.id(of)}));
                self.keys.extend((answer.status == 201).then(|| answer.json()["record"].clone()));
            }
            Step::RotateKey(number) => {
                if let Some(key) = nth(&self.keys, number) {
                    drop(admin.post(&format!("/api-keys/{}/rotate", text(&key["id"])), &json!({})));
                }
            }
            Step::RevokeKey(number) => {
                if let Some(key) = nth(&self.keys, number) {
                    drop(admin.delete(&format!("/api-keys/{}", text(&key["id"]))));
                }
            }
        }
    }

    fn describe_tunnel(&self, of: usize, value: u8) {
        let identity = self.admin.try_identity(&handle(of));
        if identity.status == 200 {
            let tunnel = text(&identity.json()["tunnel"]["id"]);
            self.admin.patch(&format!("/tunnels/{tunnel}"), &json!({"metadata": {"value": value}})).ok();
        }
    }

    fn guards_secrets(&self, step: &Step) {
        let (Step::Allow(number, _) | Step::Forbid(number, _) | Step::Forget(number)) = step else { return };
        let Some(secret) =
            nth(&self.secrets, *number).map(|secret| format!("/vault/secrets/{}", text(&secret["id"])))
        else {
            return;
        };
        drop(match step {
            Step::Allow(_, of) => {
                self.admin.post(&format!("{secret}/access"), &json!({"identity_id": self.id(*of)}))
            }
            Step::Forbid(_, of) => self.admin.delete(&format!("{secret}/access/{}", self.id(*of))),
            _ => self.admin.delete(&secret),
        });
    }

    fn id(&self, number: usize) -> String {
        let answer = self.admin.try_identity(&handle(number));
        if answer.status == 200 { text(&answer.json()["id"]) } else { crate::harness::NOBODY.to_owned() }
    }
}

fn handle(number: usize) -> String {
    format!("agent-{number}")
}

fn nth(values: &[Value], number: usize) -> Option<&Value> {
    values.get(number.checked_rem(values.len())?)
}

/// A service on which names become free at once, so that they pass from one identity to another.
fn after(steps: Vec<Step>) -> World {
    let world = World::with_name_hold(std::time::Duration::ZERO);
    let mut actor = Actor { admin: world.admin(), secrets: vec![], keys: vec![] };
    for step in steps {
        actor.does(step);
    }
    world.other_admin().create("elsewhere");
    world
}

fn after_any_history(cases: u32, holds: impl Fn(&World)) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 30,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&prop::collection::vec(step(), 1..60), |steps| {
        holds(&after(steps));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_rebuilt_table_is_the_live_one_byte_for_byte() {
    after_any_history(8, |world| {
        for name in names() {
            world.rebuild(name, BESIDE).unwrap();
            assert_eq!(world.rows("read_model_next", name), world.rows("read_model", name), "{name}");
            assert_eq!(world.indexes("read_model_next", name), world.indexes("read_model", name), "{name}");
        }
    });
}

#[test]
fn what_follows_on_a_rebuilt_table_is_what_would_have_followed_on_the_live_one() {
    after_any_history(8, |world| {
        for name in names() {
            world.rebuild(name, LIVE).unwrap();
        }
        let mut actor = Actor { admin: world.admin(), secrets: vec![], keys: vec![] };
        for step in [Step::Create(0), Step::Rename(1, 4), Step::Open(0), Step::Grant(1, 0), Step::Delete(2)] {
            actor.does(step);
        }
        world.is_clean();
    });
}

#[test]
fn the_same_events_twice_change_nothing() {
    after_any_history(8, |world| {
        let before: Vec<_> = names().into_iter().map(|name| world.rows("read_model", name)).collect();
        let events = wait(read::page(world.database().pool(), 0, i64::MAX)).unwrap();
        fold_again(world, &events);
        let after: Vec<_> = names().into_iter().map(|name| world.rows("read_model", name)).collect();
        assert_eq!(after, before);
    });
}

fn fold_again(world: &World, events: &[Recorded]) {
    let mut session = world.session("set search_path = read_model, public");
    wait(async {
        for table in identity_projections::all() {
            table.apply(&mut session, events).await.unwrap();
        }
        session.execute("select 1").await.unwrap();
    });
}
