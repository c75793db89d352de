//! The filter modes of an identity: one for each channel and direction.

use serde::{Deserialize, Serialize};

use super::values::{Channel, FilterMode};

/// The filter modes of an identity. iMessage has one mode; mail and phone have one for each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Filters {
    /// iMessage.
    pub imessage: FilterMode,
    /// Mail.
    pub mail: ChannelModes,
    /// Phone. The default unless there is a phone number, or modes were set by direction.
    pub phone: ChannelModes,
}

/// The filter modes of a channel, as events tell them. If both directions have the same mode, `shared` is that mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChannelModes {
    /// The last mode that both directions had. Clients that know no directions are shown this one.
    #[serde(rename = "filter_mode")]
    pub shared: FilterMode,
    /// For what comes in.
    #[serde(rename = "inbound_filter_mode")]
    pub inbound: FilterMode,
    /// For what goes out.
    #[serde(rename = "outbound_filter_mode")]
    pub outbound: FilterMode,
}

/// New modes of a channel by direction. `None` leaves a direction as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Directions {
    /// For what comes in.
    pub inbound: Option<FilterMode>,
    /// For what goes out.
    pub outbound: Option<FilterMode>,
}

impl Directions {
    /// Whether there is no new mode.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl ChannelModes {
    /// One mode for both directions.
    pub const fn both(mode: FilterMode) -> Self {
        Self { shared: mode, inbound: mode, outbound: mode }
    }

    /// The mode of both directions; `None` if they differ.
    pub fn common(self) -> Option<FilterMode> {
        (self.inbound == self.outbound).then_some(self.inbound)
    }

    /// These modes by direction. The shared mode stays if they differ.
    #[must_use]
    pub fn directed(self, inbound: FilterMode, outbound: FilterMode) -> Self {
        if inbound == outbound { Self::both(inbound) } else { Self { inbound, outbound, ..self } }
    }

    /// The modes after a change. A new mode for one direction takes precedence over a new mode for both.
    #[must_use]
    pub fn after(self, shared: Option<FilterMode>, directions: Directions) -> Self {
        let inbound = directions.inbound.or(shared).unwrap_or(self.inbound);
        let outbound = directions.outbound.or(shared).unwrap_or(self.outbound);
        self.directed(inbound, outbound)
    }
}

impl Filters {
    /// The modes of a channel.
    pub fn of(&self, channel: Channel) -> ChannelModes {
        match channel {
            Channel::Imessage => ChannelModes::both(self.imessage),
            Channel::Mail => self.mail,
            Channel::Phone => self.phone,
        }
    }

    /// Gives a channel these modes. iMessage has only one.
    pub(super) fn set(&mut self, channel: Channel, modes: ChannelModes) {
        match channel {
            Channel::Imessage => self.imessage = modes.shared,
            Channel::Mail => self.mail = modes,
            Channel::Phone => self.phone = modes,
        }
    }

    /// Gives a channel one mode for each direction. iMessage has only one, so it stays as it is.
    pub(super) fn split(&mut self, channel: Channel, inbound: FilterMode, outbound: FilterMode) {
        match channel {
            Channel::Imessage => {}
            Channel::Mail => self.mail = self.mail.directed(inbound, outbound),
            Channel::Phone => self.phone = self.phone.directed(inbound, outbound),
        }
    }
}
