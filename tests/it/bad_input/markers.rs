//! Members with the names under which the JSON library of the service hides texts and numbers. For clients they are members like
//! any other.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, World, text};

const TEXT: &str = "$serde_json::private::RawValue";
const NUMBER: &str = "$serde_json::private::Number";

fn send(caller: &Caller, method: Method, path: &str, body: &str) -> Answer {
    caller.call(method, path).body(body.to_owned()).send()
}

#[test]
fn an_object_is_no_text_whatever_its_members_are_called() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    for name in [TEXT, NUMBER] {
        for value in ["from raw", "7", "null", "true"] {
            let hidden = json!({ "description": { name: json!(value).to_string() } });
            let attempt = || admin.change("alpha", &hidden).invalid_at(&["body", "description"]);
            assert_eq!(world.stores_nothing(attempt)["type"], "string_type");
        }
    }
}

#[test]
fn a_body_is_not_read_from_a_text_in_it() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let hide = |body: Value| json!({ TEXT: body.to_string() });
    let create = || admin.post("/identities/", &hide(json!({ "agent_handle": "bravo" })));
    world.stores_nothing(|| create().invalid_at(&["body", "agent_handle"]));
    let change = || admin.change("alpha", &hide(json!({ "description": "hidden" })));
    world.stores_nothing(|| change().ok());
    assert_eq!(admin.identity("alpha")["description"], json!(null));
}

// Section 7.3.
#[test]
fn metadata_with_such_members_is_read_as_it_was_written() {
    let world = World::new();
    let admin = world.admin();
    let path = format!("/tunnels/{}", text(&admin.create("alpha")["tunnel"]["id"]));
    let written = [
        format!("{{\"{TEXT}\":\"{{\"}}"),
        format!("{{\"{TEXT}\":\"{{}}\"}}"),
        format!("{{\"{NUMBER}\":\"1e400\"}}"),
        format!("{{\"a\":[{{\"{TEXT}\":{{\"{NUMBER}\":\"x\"}}}}],\"{TEXT}\":7}}"),
    ];
    let shown = |answer: Answer| String::from_utf8(answer.must_be(200).bytes).unwrap();
    for metadata in &written {
        let member = format!("\"metadata\":{metadata}");
        let body = format!("{{{member}}}");
        for _ in 0..2 {
            let call =
                admin.call(Method::PATCH, &path).header("Idempotency-Key", &metadata.len().to_string());
            assert!(shown(call.body(body.clone()).send()).contains(&member), "{metadata}");
        }
        assert!(shown(send(&admin, Method::GET, &path, "")).contains(&member), "{metadata}");
    }
    let history = shown(admin.get("/events?event_type=identity.tunnel_metadata_changed"));
    let world = world.restarted();
    let admin = world.admin();
    let last = format!("\"metadata\":{}", written[3]);
    assert!(shown(admin.get(&path)).contains(&last));
    assert!(shown(admin.get("/tunnels")).contains(&last));
    assert_eq!(shown(admin.get("/events?event_type=identity.tunnel_metadata_changed")), history);
    for metadata in &written {
        assert!(history.contains(&json!(metadata).to_string()), "{metadata} in {history}");
    }
}
