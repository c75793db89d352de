//! The requests that most tests make, as methods of a caller.

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::caller::Caller;

/// A valid id that no identity has.
pub(crate) const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

impl Caller {
    /// Creates an identity and returns its body.
    #[track_caller]
    pub(crate) fn create(&self, handle: &str) -> Value {
        self.try_create(handle, json!({})).created()
    }

    /// Tries to create an identity, with further members of the body.
    pub(crate) fn try_create(&self, handle: &str, further: Value) -> Answer {
        let mut body = Map::from_iter([("agent_handle".to_owned(), Value::from(handle))]);
        let Value::Object(further) = further else { panic!("further members are an object") };
        body.extend(further);
        self.post("/identities/", &Value::Object(body))
    }

    /// The identity of that handle.
    #[track_caller]
    pub(crate) fn identity(&self, handle: &str) -> Value {
        self.try_identity(handle).ok()
    }

    pub(crate) fn try_identity(&self, handle: &str) -> Answer {
        self.get(&format!("/identities/{handle}"))
    }

    /// All identities that the caller sees.
    #[track_caller]
    pub(crate) fn identities(&self) -> Vec<Value> {
        self.list("/identities/")
    }

    /// Their handles, in the order of the list.
    #[track_caller]
    pub(crate) fn handles(&self) -> Vec<String> {
        self.identities().iter().map(|identity| text(&identity["agent_handle"])).collect()
    }

    /// Whether the caller sees an identity. The list and the single answer must agree.
    #[track_caller]
    pub(crate) fn sees(&self, handle: &str) -> bool {
        let listed = self.handles().iter().any(|known| known == handle);
        let answer = self.try_identity(handle);
        assert_eq!(
            answer.status,
            if listed { 200 } else { 404 },
            "list and single answer disagree: {answer}"
        );
        listed
    }

    /// Changes an identity.
    pub(crate) fn change(&self, handle: &str, change: &Value) -> Answer {
        self.patch(&format!("/identities/{handle}"), change)
    }

    /// Deletes an identity.
    #[track_caller]
    pub(crate) fn remove(&self, handle: &str) {
        self.delete(&format!("/identities/{handle}")).no_content();
    }

    /// Lets one viewer see a target.
    pub(crate) fn grant(&self, target: &str, viewer_id: &str) -> Answer {
        self.post(&format!("/identities/{target}/access"), &json!({"viewer_identity_id": viewer_id}))
    }

    /// Lets everybody in the organization see a target, and returns the access row.
    #[track_caller]
    pub(crate) fn open(&self, target: &str) -> Value {
        self.post(&format!("/identities/{target}/access"), &json!({"viewer_identity_id": null})).created()
    }

    pub(crate) fn revoke(&self, target: &str, viewer_id: &str) -> Answer {
        self.delete(&format!("/identities/{target}/access/{viewer_id}"))
    }

    /// The ids of the viewers of a target, in the order of the list; null stands for everybody.
    #[track_caller]
    pub(crate) fn viewers(&self, target: &str) -> Vec<Value> {
        viewers_of(&self.list(&format!("/identities/{target}/access")))
    }

    /// Gives an identity a phone number, in New York.
    #[track_caller]
    pub(crate) fn provision(&self, handle: &str) -> Value {
        self.post("/phone/numbers", &json!({"agent_handle": handle, "state": "NY"})).created()
    }

    /// Gives an identity a phone number, in any state.
    #[track_caller]
    pub(crate) fn provision_anywhere(&self, handle: &str) -> Value {
        self.post("/phone/numbers", &json!({"agent_handle": handle})).created()
    }

    /// Registers a vault secret with this name and returns its body.
    #[track_caller]
    pub(crate) fn register_secret(&self, name: &str) -> Value {
        self.post("/vault/secrets", &json!({"name": name})).created()
    }

    /// Issues a key for an identity and returns the whole body.
    #[track_caller]
    pub(crate) fn mint(&self, label: &str, identity_id: &str) -> Value {
        self.post("/api-keys", &json!({"label": label, "scoped_identity_id": identity_id})).created()
    }

    /// Issues an auditor key and returns the whole body.
    #[track_caller]
    pub(crate) fn mint_auditor(&self) -> Value {
        self.post("/api-keys", &json!({"label": "auditor", "scope": "auditor"})).created()
    }

    /// The elements of a list, whose body must be an array.
    #[track_caller]
    pub(crate) fn list(&self, path: &str) -> Vec<Value> {
        let body = self.get(path).ok();
        body.as_array().unwrap_or_else(|| panic!("{path} is not a bare array: {body}")).clone()
    }

    /// All tunnels that the caller sees.
    #[track_caller]
    pub(crate) fn tunnels(&self) -> Vec<Value> {
        self.get("/tunnels/").ok()["tunnels"].as_array().expect("tunnels come in an envelope").clone()
    }
}

/// The viewers in access rows.
pub(crate) fn viewers_of(rows: &[Value]) -> Vec<Value> {
    rows.iter().map(|row| row["viewer_identity_id"].clone()).collect()
}

/// The ids of things, in their order.
pub(crate) fn ids(things: &[Value]) -> Vec<String> {
    things.iter().map(|thing| text(&thing["id"])).collect()
}

/// A JSON string as text.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string")).to_owned()
}
