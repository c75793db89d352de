//! A value of every event, equal to its committed example.

use uuid::Uuid;

use crate::api_key::{self, Issue, Scope};
use crate::identity::{
    self, Channel, ChannelModes, FilterMode, Grant, Mailbox, Phone, Signature, Status, TlsMode, Tunnel,
};
use crate::organization;
use crate::phone::{CallAction, CallHandling, ForwardingTargetType, UsState};
use crate::vault;
use crate::vault_secret::{self, Registration, SecretType};
use crate::webhook_subscription::{
    self, ClassContext, ContextConfig, Creation, DeleteReason, DisableReason, Owner, OwnerKind,
};
use crate::{Event, Handle, Moment};

/// Lists a value of each variant. The match is exhaustive, so a new variant does not compile without a value.
macro_rules! values {
    ($($variant:pat => $value:expr,)+) => {{
        let variant_of = |event: &_| match event {
            $($variant => stringify!($variant),)+
        };
        [$(($value, stringify!($variant)),)+].map(|(value, variant)| {
            assert_eq!(variant_of(&value), variant, "a value of another event");
            value
        })
    }};
}

pub(crate) fn one_of_each() -> Vec<Event> {
    let mut all = Vec::new();
    all.extend(of_identity().map(Event::Identity));
    all.extend(of_api_key().map(Event::ApiKey));
    all.extend(of_organization().map(Event::Organization));
    all.extend(of_vault().map(Event::Vault));
    all.extend(of_vault_secret().map(Event::VaultSecret));
    all.extend(of_webhook_subscription().map(Event::WebhookSubscription));
    all
}

fn of_identity() -> [identity::Event; 22] {
    use identity::Event;
    values! {
        Event::Created { .. } => created(),
        Event::Renamed { .. } => Event::Renamed {
            previous_agent_handle: handle("harbor-desk"),
            agent_handle: handle("front-desk"),
        },
        Event::DisplayNameChanged { .. } => Event::DisplayNameChanged {
            display_name: Some("Front Desk ☎".to_owned()),
        },
        Event::DescriptionChanged { .. } => Event::DescriptionChanged { description: None },
        Event::ImessageChanged { .. } => Event::ImessageChanged { imessage_enabled: true },
        Event::ContactSharingChanged { .. } => Event::ContactSharingChanged { contact_sharing_enabled: false },
        Event::FilterModeChanged { .. } => Event::FilterModeChanged {
            channel: Channel::Mail,
            modes: ChannelModes { outbound: FilterMode::Whitelist, ..ChannelModes::both(FilterMode::Blacklist) },
        },
        Event::FilterModesSplit { .. } => Event::FilterModesSplit {
            channel: Channel::Phone,
            inbound_filter_mode: FilterMode::Blacklist,
            outbound_filter_mode: FilterMode::Whitelist,
        },
        Event::MailboxSignatureChanged { .. } => signature_changed(),
        Event::StatusChanged { .. } => Event::StatusChanged { status: Status::Paused },
        Event::VisibilityGranted { .. } => Event::VisibilityGranted { grant: grant() },
        Event::VisibilityOpened { .. } => Event::VisibilityOpened {
            access_id: id("0198c3b0-77f1-7a04-8d0e-52f6f2a1c9b2"),
        },
        Event::VisibilityRevoked { .. } => Event::VisibilityRevoked {
            viewer_identity_id: id("0198c3a1-0c55-7e21-b7d4-1f0a66c0de11"),
        },
        Event::VisibilityNarrowed { .. } => Event::VisibilityNarrowed {
            viewer_identity_id: id("0198c3a1-4d02-7b8f-9a6e-3c5d20e7f422"),
            grants: vec![grant()],
        },
        Event::PhoneProvisioned { .. } => phone_provisioned(),
        Event::PhoneChanged { .. } => phone_changed(),
        Event::PhoneReleased { .. } => Event::PhoneReleased {
            phone_number_id: id("0198c3b9-2e6a-7c10-8f43-9ab1d57e0c04"),
            number: "+12125550142".to_owned(),
        },
        Event::TunnelMetadataChanged { .. } => Event::TunnelMetadataChanged {
            metadata: r#"{"region": "eu-west", "build": 12345678901234567890}"#.to_owned(),
        },
        Event::VaultAccessGranted { .. } => Event::VaultAccessGranted {
            access_id: id("0198c3bf-60d8-7f35-a1c2-7de48b90aa05"),
            vault_secret_id: id("0198c3be-19b4-7d6c-93ea-05c2f1478b66"),
        },
        Event::VaultAccessRevoked { .. } => Event::VaultAccessRevoked {
            vault_secret_id: id("0198c3be-19b4-7d6c-93ea-05c2f1478b66"),
        },
        Event::SigningKeySet { .. } => Event::SigningKeySet {
            secret_sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        },
        Event::Deleted { .. } => Event::Deleted {
            agent_handle: handle("front-desk"),
            email_address: "harbor-desk@agents.localhost".to_owned(),
        },
    }
}

fn of_api_key() -> [api_key::Event; 3] {
    use api_key::Event;
    values! {
        Event::Issued(_) => Event::Issued(issued()),
        Event::Rotated { .. } => rotated(),
        Event::Revoked {} => Event::Revoked {},
    }
}

fn issued() -> Issue {
    Issue {
        label: "harbor-desk on the night server".to_owned(),
        description: Some("Replaced every quarter".to_owned()),
        scope: Scope::Agent { identity_id: id("0198c3a2-5b7e-7d13-8c49-e60f1a2b3c01") },
        secret_sha256: "d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592".to_owned(),
        last4: "k9Zq".to_owned(),
        created_by: "ApiKey_4c6f0d5e-8a1b-4f27-9be3-71d2c05a6f18".to_owned(),
        expires_at: None,
    }
}

fn rotated() -> api_key::Event {
    api_key::Event::Rotated {
        secret_sha256: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae".to_owned(),
        last4: "Rw3t".to_owned(),
        expires_at: None,
        previous_valid_until: moment("2026-03-02T09:30:00.000000Z"),
    }
}

fn of_organization() -> [organization::Event; 1] {
    use organization::Event;
    values! {
        Event::Created { .. } => Event::Created { name: "Harbor & Söhne".to_owned() },
    }
}

fn of_vault_secret() -> [vault_secret::Event; 5] {
    use vault_secret::Event;
    values! {
        Event::Registered(_) => Event::Registered(Registration {
            name: "Booking system".to_owned(),
            secret_type: SecretType::KeyPair,
            description: None,
        }),
        Event::NameChanged { .. } => Event::NameChanged { name: "Booking system, old".to_owned() },
        Event::DescriptionChanged { .. } => Event::DescriptionChanged {
            description: Some("Until the end of the season".to_owned()),
        },
        Event::ContentSet { .. } => Event::ContentSet {
            content_sha256: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae".to_owned(),
        },
        Event::Deleted {} => Event::Deleted {},
    }
}

fn of_webhook_subscription() -> [webhook_subscription::Event; 4] {
    use webhook_subscription::Event;
    values! {
        Event::Created(_) => Event::Created(Creation {
            identity_id: id("0198c3a2-5b7e-7d13-8c49-e60f1a2b3c01"),
            owner: Owner { kind: OwnerKind::PhoneNumber, id: id("0198c3b9-2e6a-7c10-8f43-9ab1d57e0c04") },
            settings: webhook_settings(),
        }),
        Event::Changed(_) => Event::Changed(webhook_subscription::Settings {
            context_config: None,
            has_auth_token: false,
            ..webhook_settings()
        }),
        Event::Disabled { .. } => Event::Disabled { reason: DisableReason::Gone },
        Event::Deleted { .. } => Event::Deleted { reason: DeleteReason::PhoneNumberReleased },
    }
}

fn webhook_settings() -> webhook_subscription::Settings {
    webhook_subscription::Settings {
        url: "https://harbor.example/events?desk=1".to_owned(),
        event_types: vec!["text.received".to_owned(), "text.sent".to_owned()],
        context_config: Some(ContextConfig {
            texts: Some(ClassContext::Count { count: 20 }),
            calls: Some(ClassContext::Window { hours: 48 }),
            ..ContextConfig::default()
        }),
        has_auth_token: true,
    }
}

fn of_vault() -> [vault::Event; 3] {
    use vault::{Event, KeyType};
    let key = |key_id: &str, key_type| vault::Key {
        id: id(key_id),
        key_type,
        wrapped_sha256: "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9".to_owned(),
    };
    values! {
        Event::Initialized { .. } => Event::Initialized {
            keys: vec![
                key("6f1ad7a1-2f5c-4f0e-8a41-93d0c7e3b501", KeyType::Primary),
                key("6f1ad7a1-2f5c-4f0e-8a41-93d0c7e3b502", KeyType::Recovery),
            ],
        },
        Event::PrimaryKeyReplaced { .. } => Event::PrimaryKeyReplaced {
            key: key("6f1ad7a1-2f5c-4f0e-8a41-93d0c7e3b503", KeyType::Primary),
            replaced: vec![id("6f1ad7a1-2f5c-4f0e-8a41-93d0c7e3b501")],
        },
        Event::KeyDeleted { .. } => Event::KeyDeleted { key_id: id("6f1ad7a1-2f5c-4f0e-8a41-93d0c7e3b502") },
    }
}

fn created() -> identity::Event {
    identity::Event::Created {
        id: id("0198c3a2-5b7e-7d13-8c49-e60f1a2b3c01"),
        agent_handle: handle("harbor-desk"),
        display_name: "Harbor Desk".to_owned(),
        description: Some("Answers what the harbor is asked.".to_owned()),
        imessage_enabled: false,
        mailbox: Mailbox {
            id: id("0198c3a2-5b7e-7d13-8c49-e60f1a2b3c02"),
            email_address: "harbor-desk@agents.localhost".to_owned(),
        },
        tunnel: Tunnel {
            id: id("0198c3a2-5b7e-7d13-8c49-e60f1a2b3c03"),
            tls_mode: TlsMode::Passthrough,
            zone: "tunnels.localhost".to_owned(),
        },
    }
}

fn grant() -> Grant {
    Grant {
        access_id: id("0198c3ad-93c6-7f48-b05d-6ae1c4720d31"),
        viewer_identity_id: id("0198c3a1-0c55-7e21-b7d4-1f0a66c0de11"),
    }
}

fn phone_provisioned() -> identity::Event {
    identity::Event::PhoneProvisioned {
        phone: Phone {
            id: id("0198c3b9-2e6a-7c10-8f43-9ab1d57e0c04"),
            number: "+12125550142".to_owned(),
            state: UsState::parse("NY").unwrap(),
            calls: CallHandling::default(),
        },
        filter_mode: FilterMode::Blacklist,
    }
}

fn phone_changed() -> identity::Event {
    identity::Event::PhoneChanged {
        phone_number_id: id("0198c3b9-2e6a-7c10-8f43-9ab1d57e0c04"),
        calls: CallHandling {
            incoming_call_action: CallAction::Webhook,
            client_websocket_url: None,
            incoming_call_webhook_url: Some("https://harbor.example/calls?desk=1".to_owned()),
            ..CallHandling::default()
        },
    }
}

fn signature_changed() -> identity::Event {
    identity::Event::MailboxSignatureChanged {
        signature: Signature {
            signature_html: Some("<b>Harbor Desk</b><br>Pier&nbsp;3".to_owned()),
            signature_text: Some("Harbor Desk\nPier 3".to_owned()),
            signature_enabled: true,
        },
    }
}

/// What the examples of older versions stand for, each with the name of its file.
pub(super) fn of_older_versions() -> Vec<(String, Event)> {
    let modes = ChannelModes::both(FilterMode::Whitelist);
    let changed = identity::Event::FilterModeChanged { channel: Channel::Mail, modes };
    vec![("identity.filter_mode_changed.v1.json".to_owned(), Event::Identity(changed))]
}

/// Values with the fields that an event may have or not, each with what is added to the name of its example.
pub(super) fn with_optional_fields() -> Vec<(Event, &'static str)> {
    let calls = CallHandling {
        incoming_call_action: CallAction::Forward,
        forwarding_target_type: Some(ForwardingTargetType::Sip),
        forwarding_sip_uri: Some("sip:+14155550100@voice.example.com".to_owned()),
        ..CallHandling::default()
    };
    let phone_number_id = id("0198c3b9-2e6a-7c10-8f43-9ab1d57e0c04");
    let expires_at = Some(moment("2026-06-01T00:00:00.000000Z"));
    let issue = Issue { expires_at, ..issued() };
    let mut rotation = rotated();
    if let api_key::Event::Rotated { expires_at: end, .. } = &mut rotation {
        *end = expires_at;
    }
    vec![
        (Event::Identity(identity::Event::PhoneChanged { phone_number_id, calls }), "forwarding"),
        (Event::ApiKey(api_key::Event::Issued(issue)), "expiry"),
        (Event::ApiKey(rotation), "expiry"),
    ]
}

fn handle(text: &str) -> Handle {
    Handle::parse(text).unwrap()
}

fn id(text: &str) -> Uuid {
    text.parse().unwrap()
}

fn moment(text: &str) -> Moment {
    Moment::parse(text).unwrap()
}
