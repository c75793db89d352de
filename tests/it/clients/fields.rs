//! Section 15 of the contract: every field that a published client sends is honoured or refused. The tests send each
//! row of the table, and compare the rows with the fields in the OpenAPI document.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Answer, Caller, World, text};

/// The hashes by which the keys of a vault are found: of the key that a row sends, and of the two that were there before.
const NEW_HASH: &str = "00000000000000000000000000000000000000000000000000000000000000aa";
const PRIMARY_HASH: &str = "00000000000000000000000000000000000000000000000000000000000000bb";
const RECOVERY_HASH: &str = "00000000000000000000000000000000000000000000000000000000000000cc";

const CONTRACT: &str = include_str!("../../../docs/contract.md");

/// A row of the table.
#[derive(Debug)]
struct Row<'a> {
    method: Method,
    path: &'a str,
    field: &'a str,
    body: &'a str,
    status: u16,
    code: Option<&'a str>,
    shows: &'a str,
    agent: &'a str,
}

/// The cells of a line, without backticks.
fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect()
}

impl<'a> Row<'a> {
    fn read(line: &'a str) -> Self {
        let cells = cells(line);
        let [route, field, _, body, answer, shows, agent] = cells[..] else {
            panic!("{line} does not have seven cells")
        };
        let (method, path) = route.split_once(' ').unwrap();
        let (status, code) =
            answer.split_once(' ').map_or((answer, None), |(status, code)| (status, Some(code)));
        let (method, status) = (method.parse().unwrap(), status.parse().unwrap());
        Self { method, path, field, body, status, code, shows, agent }
    }

    fn is_honoured(&self) -> bool {
        self.status < 300
    }

    /// An organization has one vault, so a row about the vault's keys needs an organization of its own.
    fn is_about_vault_keys(&self) -> bool {
        ["/vault/initialize", "/vault/keys/primary"].contains(&self.path)
    }
}

fn table() -> Vec<Row<'static>> {
    let section = CONTRACT.split("\n## 15. ").nth(1).unwrap();
    let rows: Vec<Row> = section.lines().filter(|line| line.starts_with("| `")).map(Row::read).collect();
    assert!(rows.len() > 70, "the table is not recognized any more: {}", rows.len());
    rows
}

/// The identity that a row writes to, with everything that it owns and its own key.
struct Desk<'a> {
    admin: Caller,
    agent: Caller,
    row: &'a Row<'a>,
    identity: Value,
    secret: String,
    subscription: String,
    viewer: String,
}

impl<'a> Desk<'a> {
    fn new(world: &World, row: &'a Row<'a>, number: usize, viewer: &str) -> Self {
        let admin = if row.is_about_vault_keys() { world.new_admin() } else { world.admin() };
        let handle = format!("row-{number}");
        admin.create(&handle);
        if row.path == "/vault/keys/primary" {
            initialize_vault(&admin);
        }
        if row.path != "/phone/numbers" {
            admin.provision_anywhere(&handle);
        }
        let identity = admin.identity(&handle);
        let key = text(&admin.mint("own", &text(&identity["id"]))["api_key"]);
        let secret = text(&admin.register_secret(&handle)["id"]);
        let subscription = subscribe(&admin, row, &identity);
        let agent = world.holder_of(&key);
        Self { admin, agent, row, identity, secret, subscription, viewer: viewer.to_owned() }
    }

    fn handle(&self) -> String {
        text(&self.identity["agent_handle"])
    }

    /// A text of the table with the names of this identity filled in. A create names a new identity.
    fn filled(&self, template: &str) -> String {
        let handle = if self.is_create() { format!("new-{}", self.handle()) } else { self.handle() };
        [
            ("{handle}", handle),
            ("{agent_handle}", self.handle()),
            ("{identity}", text(&self.identity["id"])),
            ("{viewer}", self.viewer.clone()),
            ("{email_address}", text(&self.identity["email_address"])),
            ("{tunnel_id}", text(&self.identity["tunnel"]["id"])),
            ("{mailbox_id}", text(&self.identity["mailbox"]["id"])),
            ("{subscription_id}", self.subscription.clone()),
            ("{secret_id}", self.secret.clone()),
            ("{new_hash}", NEW_HASH.to_owned()),
            ("{primary_hash}", PRIMARY_HASH.to_owned()),
            ("{recovery_hash}", RECOVERY_HASH.to_owned()),
            (
                "{phone_number_id}",
                self.identity["phone_number"]["id"].as_str().unwrap_or_default().to_owned(),
            ),
        ]
        .iter()
        .fold(template.to_owned(), |filled, (name, value)| filled.replace(name, value))
    }

    fn is_create(&self) -> bool {
        self.row.path == "/identities"
    }

    fn body(&self) -> Value {
        let mut body: Value = serde_json::from_str(&self.filled(self.row.body)).unwrap();
        if self.is_create() {
            body["agent_handle"] = Value::from(self.filled("{handle}"));
        } else if self.row.path == "/phone/numbers" {
            body["agent_handle"] = Value::from(self.handle());
        }
        body
    }

    fn send(&self, caller: &Caller) -> Answer {
        let call = caller.call(self.row.method.clone(), &self.filled(self.row.path));
        call.header("Idempotency-Key", &format!("{}-{}", self.handle(), self.row.field))
            .json(&self.body())
            .send()
    }

    /// The resource that the row writes to, as it can be read.
    fn shown(&self, answer: &Value) -> Value {
        let own = |list: Vec<Value>, id: &Value| list.into_iter().find(|found| found["id"] == *id).unwrap();
        let path = match self.row.path {
            "/api-keys" => return own(self.admin.list("/api-keys"), &answer["record"]["id"]),
            "/identities/{agent_handle}/access" | "/vault/secrets/{secret_id}/access" => {
                return own(self.admin.list(&self.filled(self.row.path)), &answer["id"]);
            }
            "/identities" | "/identities/{agent_handle}" => {
                format!("/identities/{}", text(&answer["agent_handle"]))
            }
            "/vault/initialize" | "/vault/keys/primary" => return self.vault_key(),
            path @ ("/phone/numbers" | "/vault/secrets" | "/webhooks/subscriptions") => {
                format!("{path}/{}", text(&answer["id"]))
            }
            "/phone/incoming-call-action" => {
                self.filled("/phone/incoming-call-action?agent_identity_id={identity}")
            }
            path => self.filled(path),
        };
        self.admin.get(&path).ok()
    }

    /// What can be read of the vault key that was sent: its record, and what it opens.
    fn vault_key(&self) -> Value {
        let body = self.body();
        let sent = [&body["recovery_keys"][0], &body["vault_key"], &body];
        let sent = sent.into_iter().find(|key| key.is_object()).unwrap();
        let keys = self.admin.list("/vault/keys");
        let mut key = keys.into_iter().find(|key| key["id"] == sent["id"]).unwrap();
        let opened = self.admin.get(&format!("/vault/unlock?auth_hash={}", text(&sent["auth_hash"]))).ok();
        key["wrapped_org_encryption_key"] = opened["wrapped_org_encryption_key"].clone();
        key
    }
}

/// The id of a subscription of the identity, if the row is about one.
fn subscribe(admin: &Caller, row: &Row, identity: &Value) -> String {
    if !row.path.contains("{subscription_id}") {
        return String::new();
    }
    let body = json!({ "agent_identity_id": identity["id"], "url": "https://desk.example/events", "event_types": ["call.ended"] });
    text(&admin.post("/webhooks/subscriptions", &body).created()["id"])
}

/// A vault with a primary key and a recovery key.
fn initialize_vault(admin: &Caller) {
    let key = |id: u128, hash: &str| json!({"id": Uuid::from_u128(id), "wrapped_org_encryption_key": "b2xk", "auth_hash": hash});
    let keys = json!({"vault_key": key(1, PRIMARY_HASH), "recovery_keys": [key(2, RECOVERY_HASH)]});
    admin.post("/vault/initialize", &keys).created();
}

/// Whether the value contains everything that is expected. It may contain more.
fn has(value: &Value, expected: &Value) -> bool {
    match expected {
        Value::Object(members) => members.iter().all(|(name, member)| has(&value[name], member)),
        _ => value == expected,
    }
}

/// Sends a row, and asserts that the result is what the table says.
fn hold(world: &World, desk: &Desk, caller: &Caller, status: u16, code: Option<&str>) {
    let (row, before) = (desk.row, world.events());
    let answer = desk.send(caller);
    assert_eq!(answer.status, status, "{row:?}: {answer}");
    if status >= 300 {
        assert_eq!(world.events(), before, "{row:?} was refused and has stored something");
        assert!(code.is_none_or(|code| answer.json()["code"] == code), "{row:?}: {answer}");
        assert!(status != 422 || answer.detail().to_string().contains(row.field), "{row:?}: {answer}");
        return;
    }
    assert!(world.events() > before, "{row:?} left no trace in history: {answer}");
    let shown = desk.shown(&answer.json());
    let expected = serde_json::from_str(&desk.filled(row.shows)).unwrap();
    assert!(has(&shown, &expected), "{row:?} shows {shown}");
}

#[test]
fn every_field_that_a_client_sends_is_honoured_or_refused() {
    let world = World::new();
    let viewer = text(&world.admin().create("viewer")["id"]);
    for (number, row) in table().iter().enumerate() {
        let desk = Desk::new(&world, row, number, &viewer);
        hold(&world, &desk, &desk.admin, row.status, row.code);
    }
}

// Decision D6.
#[test]
fn an_agent_may_send_what_the_table_says() {
    let world = World::new();
    let viewer = text(&world.admin().create("viewer")["id"]);
    for (number, row) in table().iter().enumerate() {
        let desk = Desk::new(&world, row, number, &viewer);
        match row.agent {
            "same" => hold(&world, &desk, &desk.agent, row.status, row.code),
            status => hold(&world, &desk, &desk.agent, status.parse().unwrap(), None),
        }
    }
}

#[test]
fn every_body_has_the_field_that_it_is_about() {
    for row in table() {
        let body: Value = serde_json::from_str(row.body).unwrap();
        let field = body.pointer(&format!("/{}", row.field.replace('.', "/")));
        assert!(field.is_some(), "{row:?}");
        assert!(row.is_honoured() == row.code.is_none(), "{row:?}");
    }
}

/// The fields that the OpenAPI document has for the body of a route. Fields of nested objects have a path.
fn described(document: &Value, row: &Row) -> BTreeSet<String> {
    let item = &document["paths"][format!("/api/v1{}", row.path)];
    let body = &item[row.method.as_str().to_lowercase()]["requestBody"]["content"]["application/json"];
    let schema = resolved(document, &body["schema"]);
    let mut fields = BTreeSet::new();
    for (name, property) in
        schema["properties"].as_object().unwrap_or_else(|| panic!("{row:?} has no schema"))
    {
        match property["properties"].as_object() {
            Some(inner) => fields.extend(inner.keys().map(|field| format!("{name}.{field}"))),
            None => _ = fields.insert(name.clone()),
        }
    }
    fields
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

#[test]
fn every_field_of_these_routes_has_a_row() {
    let document: Value = serde_json::from_str(identity_http::document()).unwrap();
    let table = table();
    for row in &table {
        let of_route = |other: &&Row| (&other.method, other.path) == (&row.method, row.path);
        let rows: BTreeSet<String> = table.iter().filter(of_route).map(|row| row.field.to_owned()).collect();
        let missing: Vec<_> =
            described(&document, row).into_iter().filter(|field| !rows.contains(field)).collect();
        assert!(missing.is_empty(), "{} {} has no rows for {missing:?}", row.method, row.path);
    }
}

// Section 0.1.
#[test]
fn what_is_kept_without_an_effect_is_told_of() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.provision("alpha");
    let notices = |answer: Answer| -> Vec<String> {
        let header = answer.headers.get("inkbox-notices").map_or("[]", String::as_str);
        let notices: Vec<Value> = serde_json::from_str(header).unwrap();
        assert!(notices.iter().all(|notice| notice["level"] == "info" && notice["message"].is_string()));
        notices.iter().map(|notice| text(&notice["code"])).collect()
    };
    let sign = || admin.patch("/mail/mailboxes/alpha", &json!({"signature_enabled": true}));
    assert_eq!(notices(sign()), ["signature_not_used"]);
    assert!(notices(sign()).is_empty(), "nothing has changed");
    let share = admin.change("alpha", &json!({"contact_sharing_enabled": false}));
    assert_eq!(notices(share), ["contact_sharing_not_used"]);
    let forward = json!({"agent_identity_id": admin.identity("alpha")["id"], "incoming_call_action": "forward",
        "forwarding_target_type": "phone", "forwarding_phone_number": "+12125550199"});
    assert_eq!(notices(admin.put("/phone/incoming-call-action", &forward)), ["call_forwarding_not_used"]);
    assert!(notices(admin.change("alpha", &json!({"display_name": "A"}))).is_empty());
}

// Decision D16.
#[test]
fn what_no_client_sends_is_ignored() {
    let world = World::new();
    let admin = world.admin();
    admin.try_create("alpha", json!({"favourite_colour": "blue"})).created();
    let before = admin.identity("alpha");
    assert_eq!(admin.change("alpha", &json!({"favourite_colour": "blue"})).ok(), before);
}
