//! Clients that know one filter mode for a channel, and clients that know one for each direction, use the same
//! identity. Each of them reads correctly what the other wrote. Contract, section 3.3.1.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Caller, World, text};

const MODES: [&str; 2] = ["whitelist", "blacklist"];

/// The two generations of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generation {
    /// Before 0.7.3.
    Shared,
    /// Since 0.7.3.
    Directional,
}

/// The modes that a client reads from an identity, by name.
type Reading = BTreeMap<&'static str, String>;

const SHARED: [&str; 3] = ["imessage_filter_mode", "mail_filter_mode", "phone_filter_mode"];
const MAIL: [&str; 2] = ["mail_inbound_filter_mode", "mail_outbound_filter_mode"];
const PHONE: [&str; 2] = ["phone_inbound_filter_mode", "phone_outbound_filter_mode"];

/// Reads an identity as the models of the published clients do.
fn read(generation: Generation, identity: &Value) -> Reading {
    let mut reading: Reading = SHARED.map(|name| (name, text(&identity[name]))).into();
    if generation == Generation::Shared {
        return reading;
    }
    // If a mode of a direction is absent, it is the shared one. If both modes of the phone are equal, iMessage has that
    // mode.
    for (shared, directions) in [("mail_filter_mode", MAIL), ("phone_filter_mode", PHONE)] {
        let found = directions.map(|name| identity[name].as_str().unwrap_or(&reading[shared]).to_owned());
        let is_told = identity[directions[0]].is_string();
        if found[0] == found[1] {
            reading.insert(shared, found[0].clone());
            if shared == "phone_filter_mode" && is_told {
                reading.insert("imessage_filter_mode", found[0].clone());
            }
        }
        reading.extend(directions.into_iter().zip(found));
    }
    reading
}

/// A write: the resource, and the modes that it sets.
#[derive(Debug, Clone)]
struct Write {
    door: Door,
    body: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Identity,
    Mailbox,
    PhoneNumber,
}

/// Every write: each field alone with each mode, and both directions of a channel together.
fn writes() -> Vec<Write> {
    let identity = |body| Write { door: Door::Identity, body };
    let mut writes = vec![];
    for mode in MODES {
        writes.extend(
            [SHARED.as_slice(), &MAIL, &PHONE].concat().iter().map(|name| identity(json!({*name: mode}))),
        );
        for door in [Door::Mailbox, Door::PhoneNumber] {
            writes.push(Write { door, body: json!({"filter_mode": mode}) });
        }
        for other in MODES {
            writes.extend(
                [MAIL, PHONE].map(|[inbound, outbound]| identity(json!({inbound: mode, outbound: other}))),
            );
        }
        // Clients before 0.7.3 may write phone and iMessage together, even with different modes.
        writes.extend(
            MODES.map(|other| identity(json!({"phone_filter_mode": mode, "imessage_filter_mode": other}))),
        );
    }
    writes
}

impl Write {
    fn send(&self, admin: &Caller) -> Value {
        match self.door {
            Door::Identity => return admin.change("alpha", &self.body).ok(),
            Door::Mailbox => admin.patch("/mail/mailboxes/alpha", &self.body).ok(),
            Door::PhoneNumber => {
                let id = text(&admin.list("/phone/numbers")[0]["id"]);
                admin.patch(&format!("/phone/numbers/{id}"), &self.body).ok()
            }
        };
        admin.identity("alpha")
    }

    /// The modes that it sets, by their names in an identity.
    fn wishes(&self) -> BTreeMap<String, String> {
        let name = |name: &str| match self.door {
            Door::Identity => name.to_owned(),
            Door::Mailbox => format!("mail_{name}"),
            Door::PhoneNumber => format!("phone_{name}"),
        };
        self.body.as_object().unwrap().iter().map(|(field, mode)| (name(field), text(mode))).collect()
    }

    /// What a client reads after this write, if it read `before` before it.
    fn expected(&self, all: &Reading, before: &Reading) -> Reading {
        let wishes = self.wishes();
        let mut after = before.clone();
        let mut set = |name: &'static str, mode: &str| {
            if let Some(found) = after.get_mut(name) {
                mode.clone_into(found);
            }
        };
        for (shared, directions) in [("mail_filter_mode", MAIL), ("phone_filter_mode", PHONE)] {
            if let Some(mode) = wishes.get(shared) {
                for name in [shared, directions[0], directions[1]] {
                    set(name, mode);
                }
            }
            let by_direction = directions.map(|name| wishes.get(name));
            if by_direction == [None, None] {
                continue;
            }
            let [inbound, outbound] = [0, 1].map(|side| by_direction[side].unwrap_or(&all[directions[side]]));
            set(directions[0], inbound);
            set(directions[1], outbound);
            if inbound == outbound {
                set(shared, inbound);
                if shared == "phone_filter_mode" {
                    set("imessage_filter_mode", inbound);
                }
            }
        }
        if let Some(mode) = wishes.get("imessage_filter_mode") {
            set("imessage_filter_mode", mode);
        }
        after
    }
}

/// Asserts that mailbox and phone number show the modes of the identity (D15).
fn hold_parts(identity: &Value) {
    let reading = read(Generation::Directional, identity);
    for (part, channel) in [("mailbox", "mail"), ("phone_number", "phone")] {
        for name in ["filter_mode", "inbound_filter_mode", "outbound_filter_mode"] {
            let own = reading.iter().find(|(known, _)| **known == format!("{channel}_{name}")).unwrap().1;
            assert_eq!(identity[part][name], json!(own), "{part} {name} in {identity}");
        }
    }
}

#[test]
fn what_one_generation_writes_the_other_reads_right_in_every_order() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.provision("alpha");
    let mut identity = admin.identity("alpha");
    let writes = writes();
    for first in &writes {
        for second in &writes {
            for write in [first, second] {
                let all = read(Generation::Directional, &identity);
                let after = write.send(&admin);
                for generation in [Generation::Shared, Generation::Directional] {
                    let expected = write.expected(&all, &read(generation, &identity));
                    let found = read(generation, &after);
                    assert_eq!(found, expected, "{generation:?} after {write:?} to {identity}: {after}");
                }
                hold_parts(&after);
                identity = after;
            }
        }
    }
    assert_eq!(admin.identity("alpha"), identity);
}

#[test]
fn modes_by_direction_need_no_phone_number_and_outlive_that_there_was_none() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let apart = json!({"phone_inbound_filter_mode": "blacklist", "phone_outbound_filter_mode": "whitelist"});
    admin.change("alpha", &apart).ok();
    let phone = admin.provision("alpha");
    assert_eq!(
        (&phone["inbound_filter_mode"], &phone["outbound_filter_mode"]),
        (&json!("blacklist"), &json!("whitelist"))
    );
    let expected = read(Generation::Directional, &admin.identity("alpha"));
    assert_eq!(PHONE.map(|name| expected[name].as_str()), ["blacklist", "whitelist"]);
    // Decision D27.
    admin.delete("/identities/alpha/phone_number").no_content();
    let released = read(Generation::Directional, &admin.identity("alpha"));
    assert_eq!(PHONE.map(|name| released[name].as_str()), ["blacklist", "blacklist"]);
}

#[test]
fn a_mode_for_both_directions_and_one_for_a_direction_contradict_each_other() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.provision("alpha");
    for (shared, direction) in [
        ("mail_filter_mode", MAIL[0]),
        ("mail_filter_mode", MAIL[1]),
        ("phone_filter_mode", PHONE[0]),
        ("imessage_filter_mode", PHONE[1]),
    ] {
        let both = json!({shared: "whitelist", direction: "whitelist"});
        world.stores_nothing(|| admin.change("alpha", &both).invalid_at(&["body", direction]));
    }
    for direction in [MAIL, PHONE].concat() {
        for wrong in [json!(null), json!("nonsense"), json!(true)] {
            world.stores_nothing(|| {
                admin.change("alpha", &json!({direction: wrong})).invalid_at(&["body", direction])
            });
        }
    }
}
