//! The rules of an identity. Each function is a list of guard clauses, one for each rule, and then the events.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::command::{Command, Create, PhoneChange, PhoneOrder, Update};
use super::error::IdentityError;
use super::event::Event;
use super::filters::{Directions, Filters};
use super::values::{Channel, FilterMode, Grant, Phone};
use super::{Live, LivePhone, Visibility};
use crate::facts::{Facts, Namespace, SecretSelection};
use crate::handle::Handle;
use crate::phone::CallHandling;

type Decision = Result<Vec<Event>, IdentityError>;

/// Creates an identity with everything that belongs to it, or refuses all of it.
pub(super) fn create(create: &Create, facts: &Facts) -> Decision {
    name_is_free(&create.agent_handle, facts)?;
    let mut events = vec![Event::Created {
        id: create.id,
        agent_handle: create.agent_handle.clone(),
        display_name: create.display_name.clone().unwrap_or_else(|| create.agent_handle.to_string()),
        description: create.description.clone(),
        imessage_enabled: create.imessage_enabled,
        mailbox: create.mailbox.clone(),
        tunnel: create.tunnel.clone(),
    }];
    if !create.contact_sharing_enabled {
        events.push(Event::ContactSharingChanged { contact_sharing_enabled: false });
    }
    if let Some(order) = &create.phone {
        events.extend(phone_provisioned(order, Filters::default(), facts)?);
    }
    if let Some(selection) = &create.secrets {
        events.extend(secrets_granted(selection, facts)?);
    }
    Ok(events)
}

/// Decides every command to a live identity.
pub(super) fn change(live: &Live, command: &Command, facts: &Facts) -> Decision {
    match command {
        Command::Create(_) => Err(IdentityError::AlreadyCreated),
        Command::Update(change) => update(live, change, facts),
        Command::GrantVisibility { access_id, viewer } => grant_visibility(live, *access_id, *viewer, facts),
        Command::OpenVisibility { access_id } => Ok(open_visibility(live, *access_id)),
        Command::RevokeVisibility { viewer } => revoke_visibility(live, *viewer, facts),
        Command::ProvisionPhone(order) => provision_phone(live, order, facts),
        Command::ChangePhone(change) => change_phone(live, change),
        Command::ReleasePhone { phone_number_id } => release_phone(live, *phone_number_id),
        Command::ReplaceTunnelMetadata { metadata } => Ok(replace_tunnel_metadata(live, metadata)),
        Command::GrantVaultAccess { vault_secret_id } => grant_vault_access(live, *vault_secret_id, facts),
        Command::RevokeVaultAccess { vault_secret_id } => revoke_vault_access(live, *vault_secret_id),
        Command::SetSigningKey { secret_sha256 } => Ok(set_signing_key(live, secret_sha256)),
        Command::PrepareWebhooks { secret_sha256, phone_number_id } => {
            prepare_webhooks(live, secret_sha256, *phone_number_id)
        }
        Command::Delete => Ok(delete(live)),
    }
}

fn name_is_free(handle: &Handle, facts: &Facts) -> Result<(), IdentityError> {
    if handle.is_reserved() {
        return Err(IdentityError::HandleUnavailable(Namespace::Identities));
    }
    facts.blocked.map_or(Ok(()), |namespace| Err(IdentityError::HandleUnavailable(namespace)))
}

/// A field that keeps its value yields no event, so an update can yield none at all.
fn update(live: &Live, update: &Update, facts: &Facts) -> Decision {
    let mut events = Vec::new();
    events.extend(renamed(live, update.agent_handle.as_ref(), facts)?);
    if let Some(display_name) = changed(update.display_name.as_ref(), &live.display_name) {
        events.push(Event::DisplayNameChanged { display_name });
    }
    if let Some(description) = changed(update.description.as_ref(), &live.description) {
        events.push(Event::DescriptionChanged { description });
    }
    if let Some(imessage_enabled) = changed(update.imessage_enabled.as_ref(), &live.imessage_enabled) {
        events.push(Event::ImessageChanged { imessage_enabled });
    }
    if let Some(contact_sharing_enabled) =
        changed(update.contact_sharing_enabled.as_ref(), &live.contact_sharing_enabled)
    {
        events.push(Event::ContactSharingChanged { contact_sharing_enabled });
    }
    if update.phone_filter_mode.is_some() && live.phone.is_none() {
        return Err(IdentityError::PhoneFilterWithoutPhone);
    }
    events.extend(filter_modes_changed(live, update));
    let signature = update.signature.after(&live.signature);
    if signature != live.signature {
        events.push(Event::MailboxSignatureChanged { signature });
    }
    if let Some(status) = changed(update.status.as_ref(), &live.status) {
        events.push(Event::StatusChanged { status });
    }
    Ok(events)
}

fn changed<T: PartialEq + Clone>(wanted: Option<&T>, present: &T) -> Option<T> {
    wanted.filter(|wanted| *wanted != present).cloned()
}

fn renamed(live: &Live, wanted: Option<&Handle>, facts: &Facts) -> Result<Option<Event>, IdentityError> {
    let Some(agent_handle) = changed(wanted, &live.handle) else {
        return Ok(None);
    };
    name_is_free(&agent_handle, facts)?;
    facts.wait_for_rename.map_or(Ok(()), |wait| Err(IdentityError::RenamedTooOften(wait)))?;
    Ok(Some(Event::Renamed { previous_agent_handle: live.handle.clone(), agent_handle }))
}

fn filter_modes_changed(live: &Live, update: &Update) -> impl Iterator<Item = Event> {
    let Update { mail_filter_mode, mail_directions, phone_filter_mode, phone_directions, .. } = *update;
    let phone = live.filters.phone.after(phone_filter_mode, phone_directions);
    // Clients that set the phone by direction mean iMessage, too.
    let same = phone.common().filter(|_| !phone_directions.is_empty());
    let imessage = same.or(update.imessage_filter_mode);
    [
        channel_changed(live, Channel::Imessage, imessage, Directions::default()),
        channel_changed(live, Channel::Mail, mail_filter_mode, mail_directions),
        channel_changed(live, Channel::Phone, phone_filter_mode, phone_directions),
    ]
    .into_iter()
    .flatten()
}

fn channel_changed(
    live: &Live,
    channel: Channel,
    shared: Option<FilterMode>,
    directions: Directions,
) -> Option<Event> {
    let present = live.filters.of(channel);
    let modes = present.after(shared, directions);
    (modes != present).then_some(Event::FilterModeChanged { channel, modes })
}

fn grant_visibility(live: &Live, access_id: Uuid, viewer: Uuid, facts: &Facts) -> Decision {
    if viewer == live.id {
        return Err(IdentityError::ViewerIsTarget);
    }
    if !facts.identity_is_live {
        return Err(IdentityError::ViewerNotFound);
    }
    match &live.visibility {
        Visibility::Wildcard => Err(IdentityError::RedundantGrant),
        Visibility::Explicit(viewers) if viewers.contains(&viewer) => Err(IdentityError::AlreadyGranted),
        Visibility::None | Visibility::Explicit(_) => {
            Ok(vec![Event::VisibilityGranted { grant: Grant { access_id, viewer_identity_id: viewer } }])
        }
    }
}

fn open_visibility(live: &Live, access_id: Uuid) -> Vec<Event> {
    match live.visibility {
        Visibility::Wildcard => vec![],
        Visibility::None | Visibility::Explicit(_) => vec![Event::VisibilityOpened { access_id }],
    }
}

fn revoke_visibility(live: &Live, viewer: Uuid, facts: &Facts) -> Decision {
    if viewer == live.id || !facts.identity_is_live {
        return Err(IdentityError::NotGranted);
    }
    match &live.visibility {
        Visibility::Wildcard => Ok(vec![narrowed(live.id, viewer, facts)]),
        Visibility::Explicit(viewers) if viewers.contains(&viewer) => {
            Ok(vec![Event::VisibilityRevoked { viewer_identity_id: viewer }])
        }
        Visibility::None | Visibility::Explicit(_) => Err(IdentityError::NotGranted),
    }
}

fn narrowed(target: Uuid, revoked: Uuid, facts: &Facts) -> Event {
    let others = facts.identities.iter().filter(|(identity, _)| *identity != target && *identity != revoked);
    let grants =
        others.map(|&(viewer_identity_id, access_id)| Grant { access_id, viewer_identity_id }).collect();
    Event::VisibilityNarrowed { viewer_identity_id: revoked, grants }
}

fn provision_phone(live: &Live, order: &PhoneOrder, facts: &Facts) -> Decision {
    if live.phone.is_some() {
        return Err(IdentityError::PhoneExists);
    }
    phone_provisioned(order, live.filters, facts)
}

/// A new number gets the modes that the identity has for its phone, unless the order says another one.
fn phone_provisioned(order: &PhoneOrder, filters: Filters, facts: &Facts) -> Decision {
    calls_are_complete(&order.calls)?;
    facts.wait_for_number.map_or(Ok(()), |wait| Err(IdentityError::TooManyNumbers(wait)))?;
    let offer = facts.number.clone().ok_or(IdentityError::NoNumberAvailable)?;
    let phone = Phone { id: order.id, number: offer.number, state: offer.state, calls: order.calls.clone() };
    let present = filters.phone;
    let filter_mode = order.filter_mode.unwrap_or(present.shared);
    let provisioned = Event::PhoneProvisioned { phone, filter_mode };
    let keeps_split = order.filter_mode.is_none() && present.common().is_none();
    let kept = keeps_split.then_some(Event::FilterModeChanged { channel: Channel::Phone, modes: present });
    Ok([provisioned].into_iter().chain(kept).collect())
}

fn calls_are_complete(calls: &CallHandling) -> Result<(), IdentityError> {
    if let Some(field) = calls.missing_address() {
        return Err(IdentityError::CallAddressMissing(field));
    }
    calls.unclear_target().map_or(Ok(()), |field| Err(IdentityError::ForwardingTargetUnclear(field)))
}

fn change_phone(live: &Live, change: &PhoneChange) -> Decision {
    let phone = phone_meant(live, Some(change.phone_number_id))?;
    let calls = change.calls_after(&phone.calls);
    calls_are_complete(&calls)?;
    let mut events = Vec::new();
    if calls != phone.calls {
        events.push(Event::PhoneChanged { phone_number_id: phone.id, calls });
    }
    events.extend(channel_changed(live, Channel::Phone, change.filter_mode, Directions::default()));
    Ok(events)
}

fn release_phone(live: &Live, meant: Option<Uuid>) -> Decision {
    Ok(vec![phone_released(phone_meant(live, meant)?)])
}

/// The phone number, if it is the one that the command names. It may have been released, and another one assigned,
/// since the caller read it.
fn phone_meant(live: &Live, meant: Option<Uuid>) -> Result<&LivePhone, IdentityError> {
    let present = live.phone.as_ref().filter(|phone| meant.is_none_or(|meant| meant == phone.id));
    present.ok_or(IdentityError::NoPhone)
}

fn phone_released(phone: &LivePhone) -> Event {
    Event::PhoneReleased { phone_number_id: phone.id, number: phone.number.clone() }
}

fn replace_tunnel_metadata(live: &Live, metadata: &str) -> Vec<Event> {
    if live.tunnel_metadata == metadata {
        return vec![];
    }
    vec![Event::TunnelMetadataChanged { metadata: metadata.to_owned() }]
}

fn set_signing_key(live: &Live, secret_sha256: &String) -> Vec<Event> {
    let secret_sha256 =
        Some(secret_sha256).filter(|digest| Some(*digest) != live.signing_key_sha256.as_ref());
    let event = |digest: &String| Event::SigningKeySet { secret_sha256: digest.clone() };
    secret_sha256.map(event).into_iter().collect()
}

fn prepare_webhooks(live: &Live, secret_sha256: &String, phone_number_id: Option<Uuid>) -> Decision {
    if phone_number_id.is_some() {
        phone_meant(live, phone_number_id)?;
    }
    Ok(if live.signing_key_sha256.is_some() { vec![] } else { set_signing_key(live, secret_sha256) })
}

fn secrets_granted(selection: &SecretSelection, facts: &Facts) -> Result<Vec<Event>, IdentityError> {
    if let SecretSelection::These(wanted) = selection {
        let found: BTreeSet<Uuid> = facts.secrets.iter().map(|&(secret, _)| secret).collect();
        if let Some(&missing) = wanted.iter().find(|secret| !found.contains(secret)) {
            return Err(IdentityError::SecretNotFound(missing));
        }
    }
    let granted = |&(vault_secret_id, access_id): &(Uuid, Uuid)| Event::VaultAccessGranted {
        access_id,
        vault_secret_id,
    };
    Ok(facts.secrets.iter().map(granted).collect())
}

fn grant_vault_access(live: &Live, secret: Uuid, facts: &Facts) -> Decision {
    let granted = secrets_granted(&SecretSelection::These(vec![secret]), facts)?;
    if live.secrets.contains(&secret) {
        return Err(IdentityError::VaultAccessExists);
    }
    Ok(granted)
}

fn revoke_vault_access(live: &Live, secret: Uuid) -> Decision {
    if !live.secrets.contains(&secret) {
        return Err(IdentityError::VaultAccessMissing);
    }
    Ok(vec![Event::VaultAccessRevoked { vault_secret_id: secret }])
}

/// Deletes the identity. Its phone number is released first, by an event of its own in the history.
fn delete(live: &Live) -> Vec<Event> {
    let deleted =
        Event::Deleted { agent_handle: live.handle.clone(), email_address: live.email_address.clone() };
    live.phone.as_ref().map(phone_released).into_iter().chain([deleted]).collect()
}
