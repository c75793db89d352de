//! Parts of the hosted API that are not served, and some that are served as empty.

use reqwest::Method;
use serde_json::json;

use crate::harness::World;

// Decision D20.
#[test]
fn what_is_not_served_says_so() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let told = [
        (Method::GET, "/contacts", "This service does not keep contacts"),
        (Method::POST, "/contacts/import", "This service does not keep contacts"),
        (Method::GET, "/identities/alpha/contacts/x/access", "This service does not keep contacts"),
        (Method::GET, "/notes", "This service does not keep notes"),
        (Method::GET, "/mail/mailboxes/alpha@agents.localhost/messages", "This service carries no mail"),
        (Method::GET, "/phone/calls", "This service carries no calls"),
        (Method::GET, "/identities/alpha/mail-contact-rules", "This service does not keep contact rules"),
        (Method::GET, "/identities/alpha/a2a/settings", "This service does not carry A2A"),
        (Method::GET, "/imessage/triage-number", "This service has no iMessage triage number"),
        (Method::GET, "/imessage/messages", "This service carries no iMessages"),
        (
            Method::POST,
            "/agent-signup/verify",
            "This service has no signup: its operator creates organizations",
        ),
    ];
    for (method, path, sentence) in told {
        let answer = admin.call(method, path).json(&json!({})).send();
        assert_eq!(answer.json()["code"], "not_found", "{path}");
        assert_eq!(answer.refused(404), sentence, "{path}");
    }
    assert_eq!(admin.raw("GET", "/a2a/directory", b"").refused(404), "This service has no public directory");
}

// Published clients treat a 404 of these two paths in their own way.
#[test]
fn two_404_mean_something_else() {
    let world = World::new();
    let answer = world.admin().get("/vault/info");
    assert_eq!(answer.json()["code"], "vault_not_initialized");
    answer.refused(404);
    let answer = world.admin().get("/tunnels/00000000-0000-4000-8000-000000000000");
    assert_eq!(answer.json()["code"], "tunnel_not_found");
    answer.refused(404);
}

// Decision D24.
#[test]
fn there_are_no_dedicated_imessage_numbers() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    assert_eq!(admin.get("/imessage/numbers").ok(), json!([]));
    assert_eq!(alpha.get("/imessage/numbers").ok(), json!([]));
    for (body, number_type) in [
        (json!({}), "dedicated_outbound"),
        (json!({"type": "dedicated_inbound"}), "dedicated_inbound"),
        (json!({"type": "dedicated_outbound"}), "dedicated_outbound"),
    ] {
        let claim = admin.call(Method::POST, "/imessage/numbers").header("Idempotency-Key", number_type);
        let answer = world.stores_nothing(|| claim.json(&body).send());
        assert_eq!(answer.headers["retry-after"], "3600");
        let detail = answer.refused_as(503, "dedicated_imessage_number_inventory_pending");
        assert_eq!(detail["number_type"], number_type);
    }
    admin.post("/imessage/numbers", &json!({"type": "shared"})).invalid_at(&["body", "type"]);
    alpha.post("/imessage/numbers", &json!({})).refused(403);
}
