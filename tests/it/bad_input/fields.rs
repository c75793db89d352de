//! Each field refuses values that are not of its type, and the error names the field.

use serde_json::{Map, Value, json};

use crate::harness::{Caller, World, text};

/// A valid request, in which a test makes one field wrong.
struct Request<'a> {
    world: &'a World,
    caller: Caller,
    method: reqwest::Method,
    path: String,
    body: Map<String, Value>,
}

impl<'a> Request<'a> {
    fn new(world: &'a World, method: reqwest::Method, path: impl Into<String>, body: Value) -> Self {
        let Value::Object(body) = body else { panic!("a body is an object") };
        Self { world, caller: world.admin(), method, path: path.into(), body }
    }

    /// Asserts that each of these values is refused at the field, and that nothing is stored.
    #[track_caller]
    fn refuses(&self, field: &str, wrong: &[Value]) {
        for value in wrong {
            let mut body = self.body.clone();
            body.insert(field.to_owned(), value.clone());
            let send = || self.caller.call(self.method.clone(), &self.path).json(&Value::Object(body)).send();
            self.world.stores_nothing(|| send().invalid_at(&["body", field]));
        }
    }
}

const POST: reqwest::Method = reqwest::Method::POST;
const PATCH: reqwest::Method = reqwest::Method::PATCH;

fn not_text() -> Vec<Value> {
    vec![json!(7), json!(1.5), json!(true), json!(["x"]), json!({"x": "x"}), json!("a\u{0}b")]
}

fn not_a_choice() -> Vec<Value> {
    vec![json!(7), json!(true), json!(["x"]), json!({}), json!(""), json!("neither"), json!("a\u{0}b")]
}

fn not_a_flag() -> Vec<Value> {
    vec![json!(0), json!(1), json!("true"), json!(""), json!([]), json!({})]
}

fn not_an_object() -> Vec<Value> {
    vec![json!(7), json!("x"), json!(true), json!([])]
}

fn not_an_id() -> Vec<Value> {
    vec![json!(7), json!(true), json!([]), json!({}), json!(""), json!("nonsense"), json!("a\u{0}b")]
}

fn and_null(mut wrong: Vec<Value>) -> Vec<Value> {
    wrong.push(Value::Null);
    wrong
}

#[test]
fn of_a_create() {
    let world = World::new();
    let create = Request::new(&world, POST, "/identities/", json!({"agent_handle": "alpha"}));
    create.refuses("agent_handle", &and_null(not_text()));
    create.refuses("display_name", &not_text());
    create.refuses("description", &not_text());
    create.refuses("imessage_enabled", &not_a_flag());
    create.refuses("mailbox", &not_an_object());
    create.refuses("tunnel", &not_an_object());
    create.refuses("phone_number", &not_an_object());
    create.refuses(
        "vault_secret_ids",
        &[json!(7), json!(true), json!({}), json!([7]), json!([null]), json!("a\u{0}b")],
    );
    let missing = || world.admin().post("/identities/", &json!({"display_name": "Alpha"}));
    world.stores_nothing(|| missing().invalid_at(&["body", "agent_handle"]));
}

#[test]
fn of_the_parts_of_a_create() {
    let world = World::new();
    let refuses = |part: &str, field: &str, wrong: Vec<Value>| {
        for value in wrong {
            let attempt = || world.admin().try_create("alpha", json!({part: {field: value}}));
            world.stores_nothing(|| attempt().invalid_at(&["body", part, field]));
        }
    };
    refuses("mailbox", "email_local_part", not_text());
    refuses("mailbox", "sending_domain", not_text());
    refuses("tunnel", "tls_mode", not_a_choice());
    refuses("phone_number", "type", not_a_choice());
    refuses("phone_number", "state", not_a_choice());
    refuses("phone_number", "incoming_call_action", not_a_choice());
    refuses("phone_number", "client_websocket_url", not_text());
    refuses("phone_number", "incoming_call_webhook_url", not_text());
}

// Section 3.3: null is refused for fields that cannot be null.
#[test]
fn of_an_update() {
    let world = World::new();
    world.admin().create("alpha");
    world.admin().provision("alpha");
    let update = Request::new(&world, PATCH, "/identities/alpha", json!({"display_name": "Alpha"}));
    update.refuses("agent_handle", &and_null(not_text()));
    update.refuses("display_name", &not_text());
    update.refuses("description", &not_text());
    update.refuses("imessage_enabled", &and_null(not_a_flag()));
    for choice in ["imessage_filter_mode", "mail_filter_mode", "phone_filter_mode", "status"] {
        update.refuses(choice, &and_null(not_a_choice()));
    }
    update.refuses("imessage_number_id", &not_an_id());
    update.refuses("imessage_number_type", &not_a_choice());
}

#[test]
fn of_a_grant() {
    let world = World::new();
    world.admin().create("alpha");
    Request::new(&world, POST, "/identities/alpha/access", json!({}))
        .refuses("viewer_identity_id", &not_an_id());
}

#[test]
fn of_a_phone_number() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let provision = Request::new(&world, POST, "/phone/numbers", json!({"agent_handle": "alpha"}));
    provision.refuses("agent_handle", &and_null(vec![json!(7), json!(true), json!([]), json!({})]));
    for choice in ["type", "state", "incoming_call_action", "filter_mode"] {
        provision.refuses(choice, &not_a_choice());
    }
    provision.refuses("client_websocket_url", &not_text());
    provision.refuses("incoming_call_webhook_url", &not_text());
    let path = format!("/phone/numbers/{}", text(&admin.provision("alpha")["id"]));
    let update = Request::new(&world, PATCH, path, json!({}));
    update.refuses("incoming_call_action", &not_a_choice());
    update.refuses("filter_mode", &not_a_choice());
    update.refuses("client_websocket_url", &not_text());
    update.refuses("incoming_call_webhook_url", &not_text());
}

// Decision D18: Postgres cannot store a NUL, so it is refused even in metadata.
#[test]
fn of_a_tunnel() {
    let world = World::new();
    let path = format!("/tunnels/{}", text(&world.admin().create("alpha")["tunnel"]["id"]));
    let update = Request::new(&world, PATCH, path, json!({}));
    update.refuses("metadata", &not_an_object());
    update.refuses(
        "metadata",
        &[json!({"a": "\u{0}"}), json!({"a\u{0}": 1}), json!({"a": [{"b": ["\u{0}"]}]})],
    );
}

#[test]
fn of_a_mailbox() {
    let world = World::new();
    world.admin().create("alpha");
    Request::new(&world, PATCH, "/mail/mailboxes/alpha", json!({})).refuses("filter_mode", &not_a_choice());
}

#[test]
fn of_a_key() {
    let world = World::new();
    let id = text(&world.admin().create("alpha")["id"]);
    let mint = Request::new(&world, POST, "/api-keys", json!({"label": "laptop", "scoped_identity_id": id}));
    mint.refuses("label", &and_null(not_text()));
    mint.refuses("description", &not_text());
    mint.refuses("scoped_identity_id", &not_an_id());
}

#[test]
fn of_a_secret_and_its_rules() {
    let world = World::new();
    let admin = world.admin();
    let register = Request::new(&world, POST, "/vault/secrets", json!({"name": "first"}));
    register.refuses("name", &and_null(not_text()));
    register.refuses("description", &not_text());
    register.refuses("secret_type", &not_a_choice());
    let path = format!("/vault/secrets/{}/access", text(&admin.register_secret("first")["id"]));
    Request::new(&world, POST, path, json!({})).refuses("identity_id", &and_null(not_an_id()));
}
