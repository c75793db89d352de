//! An organization in which everything exists that a request can name, with one caller of each kind.

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::walk::{Names, next};
use crate::harness::{Caller, NOBODY, World, eventually, text};

/// A text of the target that only admins and the target itself may see.
pub(super) const PRIVATE: &str = "nobody-elses-business";

/// The kinds of callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    NoKey,
    Garbage,
    RevokedAdmin,
    AgentOfTheDeleted,
    OtherAdmin,
    OtherAgent,
    Auditor,
    /// An agent that does not see the target.
    Hidden,
    /// An agent that sees the target.
    Granted,
    /// The target with its own key.
    Itself,
    Admin,
}

impl Who {
    /// The scope of its key; `None` if the key is not valid.
    pub(super) fn scope(self) -> Option<&'static str> {
        match self {
            Self::NoKey | Self::Garbage | Self::RevokedAdmin | Self::AgentOfTheDeleted => None,
            Self::Auditor => Some("auditor"),
            Self::Admin | Self::OtherAdmin => Some("admin"),
            Self::OtherAgent | Self::Hidden | Self::Granted | Self::Itself => Some("agent"),
        }
    }

    pub(super) fn is_of_another_organization(self) -> bool {
        matches!(self, Self::OtherAdmin | Self::OtherAgent)
    }

    /// Whether the target is answered as if it did not exist.
    pub(super) fn must_not_know_the_target(self) -> bool {
        self.is_of_another_organization() || self == Self::Hidden
    }
}

/// An identity with everything that an identity can have, in an organization with a vault.
pub(super) struct Target {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) names: Names,
    /// Texts by which the target can be recognized.
    pub(super) marks: Vec<String>,
}

/// The hash that a client computes from a vault key.
fn hash(key: &str) -> String {
    format!("{:x}", Sha256::digest(key))
}

/// A wrapped vault key. Its content does not matter here.
fn wrapped(hash: &str, kind: &str) -> Value {
    let id = format!("6f1ad7a1-2f5c-4f0e-8a41-{:012}", next());
    json!({ "id": id, "key_type": kind, "wrapped_org_encryption_key": "d3JhcHBlZA==", "auth_hash": hash })
}

/// Makes a vault with a primary key and a recovery key, whose hashes are the same in every organization.
pub(super) fn make_vault(admin: &Caller, name: &str) -> [String; 2] {
    let [primary, recovery] = ["primary", "recovery"].map(|kind| hash(&format!("{name} {kind}")));
    let keys = json!({ "vault_key": wrapped(&primary, "primary"), "recovery_keys": [wrapped(&recovery, "recovery")] });
    admin.post("/vault/initialize", &keys).created();
    [primary, recovery]
}

impl Target {
    /// Creates the target. `is_left_out` gets an error code, and says whether to leave out what a second attempt to
    /// create it would fail with.
    pub(super) fn new(admin: &Caller, viewer_id: &str, is_left_out: impl Fn(&str) -> bool) -> Self {
        let mut target = Self::without_deliveries(admin, viewer_id, is_left_out);
        let parameters = &mut target.names.parameters;
        parameters.insert("delivery_id", a_delivery(admin, &parameters["subscription_id"]));
        parameters.insert("endpoint_id", a_log_endpoint(admin));
        parameters.insert("as_of", text(&admin.identity(&parameters["agent_handle"])["updated_at"]));
        target
    }

    /// The same, but nothing is named that takes time to come about.
    pub(super) fn without_deliveries(
        admin: &Caller,
        viewer_id: &str,
        is_left_out: impl Fn(&str) -> bool,
    ) -> Self {
        let handle = format!("target-desk-{}", next());
        let identity = admin.try_create(&handle, json!({ "description": "target-text" })).created();
        let (id, tunnel) = (text(&identity["id"]), text(&identity["tunnel"]["id"]));
        let number =
            if is_left_out("phone_number_exists") { NOBODY.to_owned() } else { a_number(admin, &handle) };
        admin.patch(&format!("/tunnels/{tunnel}"), &json!({ "metadata": { "for": PRIVATE } })).ok();
        admin.grant(&handle, viewer_id).created();
        let secret = text(&admin.register_secret("target-secret")["id"]);
        if !is_left_out("vault_access_exists") {
            admin.post(&format!("/vault/secrets/{secret}/access"), &json!({ "identity_id": id })).created();
        }
        let [own, spare] = ["own", "spare"].map(|label| admin.mint(label, &id));
        let spare = text(&spare["record"]["id"]);
        let hashes =
            if is_left_out("vault_exists") { ["x", "y"].map(hash) } else { make_vault(admin, "home") };
        let body = json!({ "agent_identity_id": id, "url": format!("https://{PRIVATE}.example/events"), "event_types": ["identity.updated"] });
        let subscription = text(&admin.post("/webhooks/subscriptions", &body).created()["id"]);
        let names =
            Names::new(&handle, &id, viewer_id, [&tunnel, &number, &secret, &spare, &subscription], hashes);
        let marks =
            [&handle, &id, &tunnel, &number, &secret, &spare, &subscription].map(Clone::clone).into_iter();
        let marks = marks.chain([PRIVATE, "target-text", "target-secret"].map(str::to_owned));
        let marks = marks.filter(|mark| mark != NOBODY).collect();
        Self { id, key: text(&own["api_key"]), names, marks }
    }
}

/// The signing key that came with the subscription is an update of the identity, which could not be sent.
fn a_delivery(admin: &Caller, subscription: &str) -> String {
    let path = format!("/webhooks/deliveries?subscription_id={subscription}");
    let mut id = Value::Null;
    eventually("an attempt is listed", || {
        id = admin.get(&path).ok()["deliveries"][0]["id"].clone();
        !id.is_null()
    });
    text(&id)
}

/// An endpoint to which the next event could not be sent.
fn a_log_endpoint(admin: &Caller) -> String {
    let body = json!({ "url": format!("https://{PRIVATE}.example/history"), "after": 0 });
    let id = text(&admin.post("/webhooks/log-endpoints", &body).created()["id"]);
    eventually("an attempt is noted", || {
        let listed = admin.get("/webhooks/log-endpoints").ok();
        let listed = listed["log_endpoints"].as_array().unwrap();
        listed.iter().any(|one| one["id"] == id && !one["last_attempt_at"].is_null())
    });
    id
}

fn a_number(admin: &Caller, handle: &str) -> String {
    let webhook = format!("https://{PRIVATE}.example/calls");
    let number = json!({ "agent_handle": handle, "incoming_call_action": "webhook", "incoming_call_webhook_url": webhook });
    text(&admin.post("/phone/numbers", &number).created()["id"])
}

impl Names {
    fn new(
        handle: &str,
        id: &str,
        viewer_id: &str,
        [tunnel, number, secret, key, subscription]: [&str; 5],
        hashes: [String; 2],
    ) -> Self {
        let [primary, recovery] = hashes;
        let email = format!("{handle}@agents.localhost");
        let parameters = [
            ("agent_handle", handle),
            ("email_address", &email),
            ("agent_identity_id", id),
            ("identity_id", id),
            ("aggregate_id", id),
            ("viewer_identity_id", viewer_id),
            ("tunnel_id", tunnel),
            ("phone_number_id", number),
            ("secret_id", secret),
            ("api_key_id", key),
            ("subscription_id", subscription),
            ("auth_hash", &recovery),
            ("organization_sequence", "1"),
            ("from", "1"),
        ];
        let members = [
            ("agent_handle", handle),
            ("agent_identity_id", id),
            ("identity_id", id),
            ("scoped_identity_id", id),
            ("current_auth_hash", &primary),
        ];
        let owned = |(name, value): (&'static str, &str)| (name, value.to_owned());
        Self { parameters: parameters.map(owned).into(), members: members.map(owned).into() }
    }

    /// Valid names of things that never existed. The moment stays the same.
    pub(super) fn of_nobody(&self) -> Self {
        let key = format!("ApiKey_{NOBODY}");
        let mut names = Self::new(
            "nobody-at-all",
            NOBODY,
            NOBODY,
            [NOBODY, NOBODY, NOBODY, &key, NOBODY],
            ["a", "b"].map(hash),
        );
        names.parameters.insert("as_of", self.parameters["as_of"].clone());
        names.parameters.extend(
            [("delivery_id", NOBODY), ("endpoint_id", NOBODY)].map(|(name, id)| (name, id.to_owned())),
        );
        names
    }
}

/// A target in the organization that most tests use, with one caller of each kind.
pub(super) struct Estate {
    pub(super) target: Target,
    pub(super) callers: Vec<(Who, Caller)>,
}

impl Estate {
    pub(super) fn new(world: &World) -> Self {
        let admin = world.admin();
        let [hidden, granted, deleted] =
            world.agents(["hidden", "granted", "deleted"]).map(|agent| (agent.id, agent.key));
        let target = Target::new(&admin, &granted.0, |_| false);
        admin.remove("deleted");
        let revoked = world.another_admin(world.organization_id());
        admin.delete(&format!("/api-keys/{}", revoked.key_id)).no_content();
        let (other, foreigner) = another_organization(world);
        let held = |key: &str| world.holder_of(key);
        let callers = vec![
            (Who::NoKey, world.stranger()),
            (Who::Garbage, held(&format!("ApiKey_{NOBODY}.0000000000000000000000000000000000000000000"))),
            (Who::RevokedAdmin, held(revoked.api_key.expose_secret())),
            (Who::AgentOfTheDeleted, held(&deleted.1)),
            (Who::OtherAdmin, other),
            (Who::OtherAgent, held(&foreigner)),
            (Who::Auditor, world.auditor()),
            (Who::Hidden, held(&hidden.1)),
            (Who::Granted, held(&granted.1)),
            (Who::Itself, held(&target.key)),
            (Who::Admin, admin),
        ];
        let estate = Self { target, callers };
        estate.is_signed();
        estate
    }

    pub(super) fn caller(&self, who: Who) -> &Caller {
        &self.callers.iter().find(|(other, _)| *other == who).unwrap().1
    }

    /// Waits until both histories are signed, since there are no proofs before.
    fn is_signed(&self) {
        for admin in [Who::Admin, Who::OtherAdmin].map(|who| self.caller(who)) {
            eventually("the history is signed", || admin.get("/log/checkpoint").status == 200);
        }
    }
}

/// The admin of another organization that has a vault, and the key of an agent there.
fn another_organization(world: &World) -> (Caller, String) {
    let other = world.other_admin();
    make_vault(&other, "elsewhere");
    let foreigner = text(&other.create("foreigner")["id"]);
    let key = text(&other.mint("foreigner", &foreigner)["api_key"]);
    (other, key)
}
