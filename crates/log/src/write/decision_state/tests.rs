use identity_domain::Kind;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::DecisionState;
use crate::event::codec::decode;
use crate::event::metadata::Metadata;
use crate::event::recorded::Recorded;

const ID: &str = "00000000-0000-7000-8000-000000000001";

fn folded(kind: Kind, events: &[(&str, Value)]) -> DecisionState {
    let mut state = DecisionState::initial(kind);
    for (sequence, (event_type, payload)) in (1..).zip(events) {
        let mut payload = payload.clone();
        payload["type"] = (*event_type).into();
        let version = identity_domain::upcasting::present_version(event_type);
        state.evolve(&Recorded {
            position: sequence,
            organization_id: "org".to_owned(),
            organization_sequence: sequence,
            aggregate_id: ID.to_owned(),
            sequence,
            event: decode(kind.as_str(), event_type, version, payload).unwrap(),
            metadata: Metadata::default(),
            recorded_at: OffsetDateTime::UNIX_EPOCH + Duration::seconds(sequence),
        });
    }
    state
}

fn identity() -> DecisionState {
    let created = json!({
        "id": ID, "agent_handle": "harbor-desk", "display_name": "Desk", "description": null, "imessage_enabled": false,
        "mailbox": {"id": ID, "email_address": "harbor-desk@agents.localhost"},
        "tunnel": {"id": ID, "tls_mode": "edge", "zone": "tunnels.localhost"},
    });
    let grant = json!({ "grant": { "access_id": ID, "viewer_identity_id": ID } });
    let renamed = json!({ "agent_handle": "front-desk", "previous_agent_handle": "harbor-desk" });
    folded(
        Kind::Identity,
        &[
            ("identity.created", created),
            ("identity.renamed", renamed),
            ("identity.visibility_granted", grant),
            ("identity.vault_access_granted", json!({ "access_id": ID, "vault_secret_id": ID })),
        ],
    )
}

// Stored states of this form are in databases. If this test fails since the form or a fold changed, raise `DecisionState::VERSION`.
#[test]
fn the_form_of_a_stored_state_is_that_of_its_version() {
    let modes = json!({ "filter_mode": "blacklist", "inbound_filter_mode": "blacklist", "outbound_filter_mode": "blacklist" });
    let expected = json!({
        "state": { "identity": { "live": {
            "id": ID, "handle": "front-desk", "email_address": "harbor-desk@agents.localhost", "display_name": "Desk",
            "description": null, "status": "active", "imessage_enabled": false, "contact_sharing_enabled": true,
            "filters": { "imessage": "blacklist", "mail": modes, "phone": modes },
            "signature": { "signature_html": null, "signature_text": null, "signature_enabled": false },
            "visibility": { "explicit": [ID] }, "phone": null, "tunnel_metadata": "{}", "secrets": [ID],
            "signing_key_sha256": null,
        } } },
        "recent": { "renames": [2_000_000], "numbers": [] },
    });
    assert_eq!(DecisionState::VERSION, 1);
    assert_eq!(serde_json::to_value(identity()).unwrap(), expected);
}

#[test]
fn a_state_survives_being_stored() {
    let state = identity();
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<DecisionState>(&text).unwrap(), state);
}
