//! Random lives of an identity: sequences of commands, each with the facts that it is decided with.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::{bool, option, sample};
use uuid::Uuid;

use crate::facts::{Namespace, NumberWish, Offer, SecretSelection};
use crate::identity::*;
use crate::phone::{CallAction, UsState};

pub(super) const TARGET: Uuid = Uuid::from_u128(1);

/// How many names, viewers, numbers and secrets there are. There are few, so that commands often meet what earlier
/// ones did.
const FEW: u128 = 4;

fn id(kind: u128) -> impl Strategy<Value = Uuid> {
    (0..FEW).prop_map(move |index| Uuid::from_u128(kind << 8 | index))
}

/// A viewer. Sometimes it is the identity itself, which is always refused.
fn viewer() -> impl Strategy<Value = Uuid> {
    prop_oneof![1 => Just(TARGET), 6 => id(0xa)]
}

fn secret() -> impl Strategy<Value = Uuid> {
    id(0x5)
}

fn phone_id() -> impl Strategy<Value = Uuid> {
    id(0x7)
}

fn access_id() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn handle() -> impl Strategy<Value = Handle> {
    sample::select(vec!["harbor-desk", "front-desk", "night-desk", "support"])
        .prop_map(|text| Handle::parse(text).unwrap())
}

fn filter_mode() -> impl Strategy<Value = FilterMode> {
    sample::select(vec![FilterMode::Whitelist, FilterMode::Blacklist])
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "\\PC{0,6}"]
}

fn call_action() -> impl Strategy<Value = CallAction> {
    use CallAction::{AutoAccept, AutoReject, HostedAgent, Webhook};
    sample::select(vec![AutoAccept, AutoReject, HostedAgent, Webhook])
}

fn websocket() -> impl Strategy<Value = Option<String>> {
    option::of(Just("wss://desk.example/calls".to_owned()))
}

fn webhook() -> impl Strategy<Value = Option<String>> {
    option::of(Just("https://desk.example/calls".to_owned()))
}

fn order() -> impl Strategy<Value = PhoneOrder> {
    (phone_id(), call_action(), websocket(), webhook(), filter_mode()).prop_map(
        |(id, incoming_call_action, client_websocket_url, incoming_call_webhook_url, filter_mode)| {
            let calls =
                CallHandling { incoming_call_action, client_websocket_url, incoming_call_webhook_url };
            PhoneOrder { id, wish: NumberWish::default(), calls, filter_mode }
        },
    )
}

fn selection() -> impl Strategy<Value = SecretSelection> {
    prop_oneof![Just(SecretSelection::All), vec(secret(), 0..3).prop_map(SecretSelection::These)]
}

fn create() -> impl Strategy<Value = Command> {
    (handle(), option::of(text()), option::of(text()), option::of(order()), option::of(selection())).prop_map(
        |(agent_handle, display_name, description, phone, secrets)| {
            let email_address = format!("{agent_handle}@agents.localhost");
            Command::Create(Box::new(Create {
                id: TARGET,
                agent_handle,
                display_name,
                description,
                imessage_enabled: false,
                mailbox: Mailbox { id: Uuid::from_u128(2), email_address },
                tunnel: Tunnel {
                    id: Uuid::from_u128(3),
                    tls_mode: TlsMode::Edge,
                    zone: "tunnels.localhost".to_owned(),
                },
                phone,
                secrets,
            }))
        },
    )
}

fn update() -> impl Strategy<Value = Command> {
    let status = sample::select(vec![Status::Active, Status::Paused]);
    (
        option::of(handle()),
        option::of(option::of(text())),
        option::of(option::of(text())),
        option::of(bool::ANY),
        [(); 3].map(|()| option::weighted(0.2, filter_mode())),
        option::of(status),
    )
        .prop_map(|(agent_handle, display_name, description, imessage_enabled, filter_modes, status)| {
            let [imessage_filter_mode, mail_filter_mode, phone_filter_mode] = filter_modes;
            Command::Update(Box::new(Update {
                agent_handle,
                display_name,
                description,
                imessage_enabled,
                imessage_filter_mode,
                mail_filter_mode,
                phone_filter_mode,
                status,
            }))
        })
}

fn phone_change() -> impl Strategy<Value = Command> {
    (
        phone_id(),
        option::of(call_action()),
        option::of(websocket()),
        option::of(webhook()),
        option::of(filter_mode()),
    )
        .prop_map(|(phone_number_id, incoming_call_action, websocket, webhook, filter_mode)| {
            Command::ChangePhone(PhoneChange {
                phone_number_id,
                incoming_call_action,
                client_websocket_url: websocket,
                incoming_call_webhook_url: webhook,
                filter_mode,
            })
        })
}

pub(super) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        1 => create(),
        4 => update(),
        6 => (access_id(), viewer()).prop_map(|(access_id, viewer)| Command::GrantVisibility { access_id, viewer }),
        3 => access_id().prop_map(|access_id| Command::OpenVisibility { access_id }),
        6 => viewer().prop_map(|viewer| Command::RevokeVisibility { viewer }),
        3 => order().prop_map(Command::ProvisionPhone),
        3 => phone_change(),
        1 => option::of(phone_id()).prop_map(|phone_number_id| Command::ReleasePhone { phone_number_id }),
        1 => text().prop_map(|metadata| Command::ReplaceTunnelMetadata { metadata }),
        3 => secret().prop_map(|vault_secret_id| Command::GrantVaultAccess { vault_secret_id }),
        3 => secret().prop_map(|vault_secret_id| Command::RevokeVaultAccess { vault_secret_id }),
        1 => Just(Command::SetSigningKey { secret_sha256: "9f86d081".to_owned() }),
        1 => Just(Command::Delete),
    ]
}

/// The state of everything outside the identity. It is random for each command.
#[derive(Debug, Clone)]
pub(super) struct Elsewhere {
    blocked: Option<Namespace>,
    live: BTreeSet<Uuid>,
    secrets: BTreeSet<Uuid>,
    number: Option<Offer>,
}

pub(super) fn elsewhere() -> impl Strategy<Value = Elsewhere> {
    let blocked = option::weighted(0.2, sample::select(Namespace::ALL.to_vec()));
    let number = option::weighted(
        0.8,
        Just(Offer { number: "+12125550100".to_owned(), state: UsState::parse("NY").unwrap() }),
    );
    let few = FEW.try_into().unwrap();
    (blocked, btree_set(viewer(), 0..=few), btree_set(secret(), 0..=few), number)
        .prop_map(|(blocked, live, secrets, number)| Elsewhere { blocked, live, secrets, number })
}

impl Elsewhere {
    /// The facts for these needs, and no others, as from the log.
    fn facts(&self, needs: &Needs) -> Facts {
        let selected = |secret: &Uuid| match &needs.secrets {
            Some(SecretSelection::All) => true,
            Some(SecretSelection::These(these)) => these.contains(secret),
            None => false,
        };
        // The ids of rows only have to differ.
        let with_row = |id: Uuid| (id, Uuid::from_u128(id.as_u128() | 1 << 100));
        Facts {
            id_is_taken: false,
            blocked: needs.name.as_ref().and(self.blocked),
            identity_is_live: needs.identity.is_some_and(|identity| self.live.contains(&identity)),
            identities: self.live.iter().copied().filter(|_| needs.all_identities).map(with_row).collect(),
            secrets: self.secrets.iter().copied().filter(selected).map(with_row).collect(),
            number: needs.number.as_ref().and(self.number.clone()),
            ..Facts::default()
        }
    }
}

/// A command, and the state of everything outside the identity when it is decided.
pub(super) type Step = (Command, Elsewhere);

/// A random life. Half of all lives begin with a create.
pub(super) fn life() -> impl Strategy<Value = Vec<Step>> {
    let birth = prop_oneof![create(), command()];
    ((birth, elsewhere()), vec((command(), elsewhere()), 0..40)).prop_map(|(first, rest)| {
        let mut steps = vec![first];
        steps.extend(rest);
        steps
    })
}

pub(super) fn decide(state: &Identity, (command, elsewhere): &Step) -> Result<Vec<Event>, IdentityError> {
    state.decide(command, &elsewhere.facts(&Identity::needs(command)))
}

/// Runs the steps. Calls `look` after each with the state before, the decision, and the state after.
pub(super) fn live(
    steps: &[Step],
    mut look: impl FnMut(
        &Identity,
        &Step,
        &Result<Vec<Event>, IdentityError>,
        &Identity,
    ) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut state = Identity::default();
    for step in steps {
        let before = state.clone();
        let decision = decide(&before, step);
        decision.iter().flatten().for_each(|event| state.evolve(event));
        look(&before, step, &decision, &state)?;
    }
    Ok(())
}
