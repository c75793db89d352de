//! The filter modes in an identity document, where they are shown to clients that know directions and to clients that do not.
//!
//! Clients before 0.7.3 know one mode for each channel. Later ones know a mode for each direction of mail, and one for each
//! direction of phone and iMessage together. Contract, section 1.1.

use identity_domain::identity::{Channel, ChannelModes, FilterMode};

use super::IdentityDocument;

impl IdentityDocument {
    /// Gives a channel one mode for both directions.
    pub(super) fn set_filter_mode(&mut self, channel: Channel, mode: FilterMode, now: &str) {
        match channel {
            Channel::Imessage => {
                let phone = self.phone_modes();
                self.imessage_filter_mode = mode;
                self.show_phone_directions(phone);
            }
            Channel::Mail => self.show_mail(ChannelModes::both(mode), now),
            Channel::Phone => self.show_phone(ChannelModes::both(mode), now),
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
