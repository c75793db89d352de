//! The filter modes in an identity document, where they are shown to clients that know directions and to clients that do not.
//!
//! Clients before 0.7.3 know one mode for each channel. Later ones know a mode for each direction of mail, and one for each
//! direction of phone and iMessage together. Contract, section 1.1.

use identity_domain::identity::{Channel, ChannelModes, FilterMode};

use super::IdentityDocument;

impl IdentityDocument {
    /// Gives a channel these modes. iMessage has only one.
    pub(super) fn set_filter_modes(&mut self, channel: Channel, modes: ChannelModes, now: &str) {
        match channel {
            Channel::Imessage => {
                let phone = self.phone_modes();
                self.imessage_filter_mode = modes.shared;
                self.show_phone_directions(phone);
            }
            Channel::Mail => self.show_mail(modes, now),
            Channel::Phone => self.show_phone(modes, now),
        }
    }

    /// Gives a channel one mode for each direction. iMessage has none of its own.
    pub(super) fn split_filter_modes(
        &mut self,
        channel: Channel,
        inbound: FilterMode,
        outbound: FilterMode,
        now: &str,
    ) {
        match channel {
            Channel::Imessage => {}
            Channel::Mail => self.show_mail(self.mail_modes().directed(inbound, outbound), now),
            Channel::Phone => self.show_phone(self.phone_modes().directed(inbound, outbound), now),
        }
    }

    fn mail_modes(&self) -> ChannelModes {
        modes(self.mail_filter_mode, self.mail_inbound_filter_mode, self.mail_outbound_filter_mode)
    }

    /// The modes of the phone. If no directions are shown, both have the shared mode.
    fn phone_modes(&self) -> ChannelModes {
        modes(self.phone_filter_mode, self.phone_inbound_filter_mode, self.phone_outbound_filter_mode)
    }

    /// Shows the modes of mail at the identity and at the mailbox (D15).
    pub(super) fn show_mail(&mut self, modes: ChannelModes, now: &str) {
        self.mail_filter_mode = modes.shared;
        self.mail_inbound_filter_mode = Some(modes.inbound);
        self.mail_outbound_filter_mode = Some(modes.outbound);
        self.mailbox.filter_mode = modes.shared;
        self.mailbox.inbound_filter_mode = Some(modes.inbound);
        self.mailbox.outbound_filter_mode = Some(modes.outbound);
        now.clone_into(&mut self.mailbox.updated_at);
    }

    /// Shows the modes of the phone at the identity and at the number (D15).
    pub(super) fn show_phone(&mut self, modes: ChannelModes, now: &str) {
        self.phone_filter_mode = modes.shared;
        self.show_phone_directions(modes);
        if let Some(phone) = &mut self.phone_number {
            phone.filter_mode = modes.shared;
            phone.inbound_filter_mode = Some(modes.inbound);
            phone.outbound_filter_mode = Some(modes.outbound);
            now.clone_into(&mut phone.updated_at);
        }
    }

    /// Clients that know directions take two equal modes of the phone for the mode of iMessage. So they are told of the
    /// directions only if they differ, or if iMessage has the same mode.
    fn show_phone_directions(&mut self, modes: ChannelModes) {
        let is_shown = modes.common().is_none_or(|mode| mode == self.imessage_filter_mode);
        self.phone_inbound_filter_mode = is_shown.then_some(modes.inbound);
        self.phone_outbound_filter_mode = is_shown.then_some(modes.outbound);
    }
}

/// A document of an older version has no directions.
fn modes(shared: FilterMode, inbound: Option<FilterMode>, outbound: Option<FilterMode>) -> ChannelModes {
    ChannelModes { shared, inbound: inbound.unwrap_or(shared), outbound: outbound.unwrap_or(shared) }
}

#[cfg(test)]
mod tests {
    use identity_domain::identity::{Channel, ChannelModes, FilterMode};
    use serde_json::json;

    use crate::document::IdentityDocument;

    const MOMENT: &str = "2026-01-02T03:04:05.678901Z";

    /// A document as it was stored before there were directions.
    fn older() -> IdentityDocument {
        let id = "0b0f6a3e-5c1b-4d0e-9b1a-6f0c2f1d9a01";
        let document = json!({
            "id": id, "organization_id": "org_local", "agent_handle": "harbor-desk", "display_name": null,
            "description": null, "email_address": "harbor-desk@agents.localhost", "imessage_enabled": false,
            "imessage_filter_mode": "blacklist", "mail_filter_mode": "whitelist", "phone_filter_mode": "blacklist",
            "signing_key_configured": false, "signing_key_created_at": null, "status": "active",
            "created_at": MOMENT, "updated_at": MOMENT,
            "mailbox": {
                "id": id, "email_address": "harbor-desk@agents.localhost", "sending_domain": "agents.localhost",
                "filter_mode": "whitelist", "agent_identity_id": id, "filter_mode_change_notice": null,
                "created_at": MOMENT, "updated_at": MOMENT,
            },
            "phone_number": null, "imessage_number": null,
            "tunnel": {
                "id": id, "tunnel_name": "harbor-desk", "agent_identity_id": id, "tls_mode": "edge",
                "status": "active", "public_host": "harbor-desk.tunnels.localhost", "zone": "tunnels.localhost",
                "created_at": MOMENT, "updated_at": MOMENT,
            },
        });
        serde_json::from_value(document).unwrap()
    }

    // A read model may be rolled back to a table that an older version of the software has built.
    #[test]
    fn a_document_without_directions_has_the_shared_mode_in_both() {
        let mut document = older();
        assert!(document.contact_sharing_enabled && !document.mailbox.signature_enabled);
        document.split_filter_modes(Channel::Mail, FilterMode::Whitelist, FilterMode::Blacklist, MOMENT);
        assert_eq!(document.mail_filter_mode, FilterMode::Whitelist);
        assert_eq!(document.mail_inbound_filter_mode, Some(FilterMode::Whitelist));
        assert_eq!(document.mailbox.outbound_filter_mode, Some(FilterMode::Blacklist));
        document.set_filter_modes(Channel::Imessage, ChannelModes::both(FilterMode::Whitelist), MOMENT);
        assert_eq!(document.phone_inbound_filter_mode, None);
        document.set_filter_modes(Channel::Imessage, ChannelModes::both(FilterMode::Blacklist), MOMENT);
        assert_eq!(document.phone_outbound_filter_mode, Some(FilterMode::Blacklist));
    }
}
