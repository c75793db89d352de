//! What an identity accepts and what it refuses. This file has what the tests share; the tests are in its modules.

mod birth;
mod change;
mod death;
mod phone;
mod vault;
mod visibility;

use uuid::Uuid;

use super::*;
use crate::Offer;
use crate::facts::{Namespace, NumberWish, SecretSelection};
use crate::phone::{CallAction, UsState};
use crate::testing::Given;

/// The identity of all these tests.
const TARGET: Uuid = Uuid::from_u128(1);
/// Other identities of the organization.
const ALPHA: Uuid = Uuid::from_u128(0xa);
const BRAVO: Uuid = Uuid::from_u128(0xb);
const CAROL: Uuid = Uuid::from_u128(0xc);
/// Ids of access rows, as a caller mints them.
const ROW: Uuid = Uuid::from_u128(0xf1);
const OTHER_ROW: Uuid = Uuid::from_u128(0xf2);
const SECRET: Uuid = Uuid::from_u128(0x51);
const OTHER_SECRET: Uuid = Uuid::from_u128(0x52);
const PHONE: Uuid = Uuid::from_u128(0x71);

fn given(history: impl IntoIterator<Item = Event>) -> Given<Identity> {
    crate::testing::given(history)
}

/// A new identity with these further events.
fn live(history: impl IntoIterator<Item = Event>) -> Given<Identity> {
    given([created()].into_iter().chain(history))
}

fn handle(text: &str) -> Handle {
    Handle::parse(text).unwrap()
}

fn mailbox() -> Mailbox {
    Mailbox { id: Uuid::from_u128(2), email_address: "harbor-desk@agents.localhost".to_owned() }
}

fn tunnel() -> Tunnel {
    Tunnel { id: Uuid::from_u128(3), tls_mode: TlsMode::Edge, zone: "tunnels.localhost".to_owned() }
}

fn create() -> Create {
    Create {
        id: TARGET,
        agent_handle: handle("harbor-desk"),
        display_name: None,
        description: None,
        imessage_enabled: false,
        contact_sharing_enabled: true,
        mailbox: mailbox(),
        tunnel: tunnel(),
        phone: None,
        secrets: None,
    }
}

fn created() -> Event {
    Event::Created {
        id: TARGET,
        agent_handle: handle("harbor-desk"),
        display_name: "harbor-desk".to_owned(),
        description: None,
        imessage_enabled: false,
        mailbox: mailbox(),
        tunnel: tunnel(),
    }
}

fn deleted() -> Event {
    Event::Deleted {
        agent_handle: handle("harbor-desk"),
        email_address: "harbor-desk@agents.localhost".to_owned(),
    }
}

fn order() -> PhoneOrder {
    PhoneOrder {
        id: PHONE,
        wish: NumberWish { state: None },
        calls: CallHandling::default(),
        filter_mode: None,
    }
}

/// The number of [`offered`], with this call handling.
fn provisioned(calls: CallHandling) -> Event {
    let phone =
        Phone { id: PHONE, number: "+12125550100".to_owned(), state: UsState::parse("NY").unwrap(), calls };
    Event::PhoneProvisioned { phone, filter_mode: FilterMode::Blacklist }
}

fn released() -> Event {
    Event::PhoneReleased { phone_number_id: PHONE, number: "+12125550100".to_owned() }
}

fn grant_of(viewer: Uuid, access_id: Uuid) -> Grant {
    Grant { access_id, viewer_identity_id: viewer }
}

fn granted(viewer: Uuid) -> Event {
    Event::VisibilityGranted { grant: grant_of(viewer, ROW) }
}

fn opened() -> Event {
    Event::VisibilityOpened { access_id: ROW }
}

fn blocked(namespace: Namespace) -> Facts {
    Facts { blocked: Some(namespace), ..Facts::default() }
}

/// Facts: the identity that the command names is live.
fn alive() -> Facts {
    Facts { identity_is_live: true, ..Facts::default() }
}

/// Facts: the identity that the command names is live, and these are all live identities, each with the id of a new row.
fn alive_among(identities: impl IntoIterator<Item = (Uuid, Uuid)>) -> Facts {
    Facts { identities: identities.into_iter().collect(), ..alive() }
}

fn offered() -> Facts {
    let number = Offer { number: "+12125550100".to_owned(), state: UsState::parse("NY").unwrap() };
    Facts { number: Some(number), ..Facts::default() }
}

/// Facts: these secrets exist, each with the id of a new access rule.
fn existing(secrets: impl IntoIterator<Item = (Uuid, Uuid)>) -> Facts {
    Facts { secrets: secrets.into_iter().collect(), ..Facts::default() }
}
