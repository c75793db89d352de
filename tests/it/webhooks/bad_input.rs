//! What no subscription can be.

use serde_json::{Value, json};

use super::{PATH, URL, of_identity, path_of, subscribe};
use crate::harness::{NOBODY, World};

/// Holds that each value is refused at the field, in a new subscription and in a change.
fn refuses(field: &str, values: &[Value]) {
    let world = World::new();
    let alpha = world.agent("alpha");
    let path = path_of(&subscribe(&alpha, &of_identity(&alpha.id)));
    for value in values {
        let mut body = of_identity(&alpha.id);
        body[field] = value.clone();
        world.stores_nothing(|| alpha.post(PATH, &body).invalid_at(&["body", field]));
        world.stores_nothing(|| alpha.patch(&path, &json!({ field: value })).invalid_at(&["body", field]));
    }
}

// Scenario 53.
#[test]
fn an_address() {
    let long = format!("https://harbor.example/{}", "a".repeat(2048));
    refuses(
        "url",
        &[
            json!(null),
            json!(7),
            json!(""),
            json!("http://harbor.example/"),
            json!("https://user:word@harbor.example/"),
            json!("https://harbor.example/#x"),
            json!("https://harbor.example/a b"),
            json!("https://127.0.0.1/"),
            json!("https://0x7f.1/"),
            json!("https://[::ffff:127.0.0.1]/"),
            json!("https://10.0.0.1/"),
            json!("https://[::1]/"),
            json!("https://[2606:4700::200:5efe:10.0.0.1]/"),
            json!("https://169.254.169.254/latest"),
            json!("https://localhost/"),
            json!(long),
        ],
    );
}

#[test]
fn types_of_events() {
    refuses(
        "event_types",
        &[
            json!(null),
            json!("identity.updated"),
            json!([]),
            json!([7]),
            json!(["identity.updated", "identity.updated"]),
            json!(["phone.incoming_call"]),
            json!(["identity.created"]),
            json!(["identity.*"]),
            json!(["unheard.of"]),
            json!(["identity.updated\u{0}"]),
        ],
    );
}

#[test]
fn a_context() {
    let class = |class: Value| json!({ "email": class });
    refuses(
        "context_config",
        &[
            json!([]),
            json!("email"),
            json!({ "mail": null }),
            class(json!([])),
            class(json!({ "mode": "count" })),
            class(json!({ "mode": "count", "count": 0 })),
            class(json!({ "mode": "count", "count": 51 })),
            class(json!({ "mode": "count", "count": 1.5 })),
            class(json!({ "mode": "count", "count": true })),
            class(json!({ "mode": "count", "hours": 1 })),
            class(json!({ "mode": "count", "count": 1, "hours": 1 })),
            class(json!({ "mode": "window", "hours": 169 })),
            class(json!({ "mode": "window", "hours": 300 })),
            class(json!({ "mode": "all" })),
        ],
    );
}

#[test]
fn a_token() {
    let long = "a".repeat(1025);
    refuses(
        "auth_token",
        &[json!(7), json!(""), json!("a b"), json!("a\r\nb"), json!("ä"), json!("a\u{0}"), json!(long)],
    );
}

#[test]
fn there_is_one_owner_and_its_types_are_its_own() {
    let world = World::new();
    let admin = world.admin();
    let identity = admin.create("alpha");
    let body = |owners: Value, types: Value| {
        let mut body = json!({ "url": URL, "event_types": types });
        body.as_object_mut().unwrap().extend(owners.as_object().unwrap().clone());
        body
    };
    let mailbox = &identity["mailbox"]["id"];
    let post = |owners: Value, types: Value| admin.post(PATH, &body(owners, types));
    world.stores_nothing(|| {
        post(json!({}), json!(["identity.updated"])).invalid_at(&["body", "agent_identity_id"]);
        let two = json!({ "mailbox_id": mailbox, "agent_identity_id": identity["id"] });
        post(two, json!(["message.sent"])).invalid_at(&["body", "agent_identity_id"]);
        let of_mailbox = || json!({ "mailbox_id": mailbox });
        for types in [json!(["text.sent"]), json!(["message.sent", "identity.updated"])] {
            post(of_mailbox(), types).invalid_at(&["body", "event_types"]);
        }
        post(json!({ "phone_number_id": NOBODY }), json!(["message.sent"]))
            .invalid_at(&["body", "event_types"]);
        post(json!({ "mailbox_id": "x" }), json!(["message.sent"])).invalid_at(&["body", "mailbox_id"]);
    });
    let of_mailbox = subscribe(&admin, &body(json!({ "mailbox_id": mailbox }), json!(["message.sent"])));
    let change = || admin.patch(&path_of(&of_mailbox), &json!({ "event_types": ["text.sent"] }));
    world.stores_nothing(|| change().invalid_at(&["body", "event_types"]));
}
