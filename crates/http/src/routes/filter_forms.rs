//! Filter modes in the body of an update of an identity. Contract, section 3.3.
//!
//! A channel has one field for both directions, which every published client knows, and one for each direction, which
//! clients since 0.7.3 know. A request may not have fields of both kinds for one channel.

use identity_domain::identity::{Directions, FilterMode};

use crate::form::Form;
use crate::form::reader::choice;

/// Fields that only admins may send (D6).
pub(crate) const FILTER_FIELDS: [&str; 10] = [
    "imessage_filter_mode",
    "mail_filter_mode",
    "mail_inbound_filter_mode",
    "mail_outbound_filter_mode",
    "phone_filter_mode",
    "phone_inbound_filter_mode",
    "phone_outbound_filter_mode",
    "slack_filter_mode",
    "slack_inbound_filter_mode",
    "slack_outbound_filter_mode",
];

/// The filter modes that an update asks for.
#[derive(Debug)]
pub(crate) struct FilterModes {
    pub(crate) imessage: Option<FilterMode>,
    pub(crate) mail: Option<FilterMode>,
    pub(crate) mail_directions: Directions,
    pub(crate) phone: Option<FilterMode>,
    pub(crate) phone_directions: Directions,
}

impl FilterModes {
    pub(crate) fn read(form: &mut Form) -> Self {
        let modes = Self {
            imessage: form.optional("imessage_filter_mode", "Filter mode of iMessage; for admins", choice()),
            mail: form.optional(
                "mail_filter_mode",
                "Filter mode of mail, for both directions; for admins",
                choice(),
            ),
            mail_directions: directions(form, ["mail_inbound_filter_mode", "mail_outbound_filter_mode"]),
            phone: form.optional(
                "phone_filter_mode",
                "Filter mode of the phone, for both directions; for admins; 422 without a phone number",
                choice(),
            ),
            phone_directions: directions(form, ["phone_inbound_filter_mode", "phone_outbound_filter_mode"]),
        };
        not_together(form, "mail", &["mail_filter_mode"]);
        not_together(form, "phone", &["phone_filter_mode", "imessage_filter_mode"]);
        for field in FILTER_FIELDS.iter().filter(|field| field.starts_with("slack")) {
            form.unserved(field, "Slack is not served here");
        }
        modes
    }
}

fn directions(form: &mut Form, [inbound, outbound]: [&str; 2]) -> Directions {
    Directions {
        inbound: form.optional(inbound, "Filter mode of what comes in; for admins", choice()),
        outbound: form.optional(outbound, "Filter mode of what goes out; for admins", choice()),
    }
}

/// Refuses a field for one direction beside a field for both.
fn not_together(form: &mut Form, channel: &str, shared: &[&str]) {
    for side in ["inbound", "outbound"] {
        let field = format!("{channel}_{side}_filter_mode");
        for other in shared.iter().filter(|other| form.has(other)).copied().collect::<Vec<_>>() {
            if form.has(&field) {
                form.refuse(&field, &format!("Cannot be combined with {other}"));
            }
        }
    }
}
