//! Routes of the hosted API that this service does not serve. They are answered 404 with a sentence that says so, so
//! that a client's author does not look for a spelling mistake. Contract, D20. A path that is served with other methods is answered
//! 405 by `router.rs`; the router of axum adds `Allow`.

/// Prefixes of paths, segment by segment, each with the reason why it is not served. `*` stands for any one segment.
/// Routes that are served are matched before.
const UNSERVED: [(&str, &str); 43] = [
    ("/api/v1/mail/mailboxes/*/messages", MAIL),
    ("/api/v1/mail/mailboxes/*/search", MAIL),
    ("/api/v1/mail/mailboxes/*/threads", MAIL),
    ("/api/v1/mail/mailboxes/*/folders", MAIL),
    ("/api/v1/mail/mailboxes/*/drafts", MAIL),
    ("/api/v1/mail/mailboxes/*/imports", MAIL),
    ("/api/v1/message-sends", "This service sends no messages"),
    ("/api/v1/domains", DOMAINS),
    ("/api/v1/organization-domains", DOMAINS),
    ("/api/v1/identities/*/domain-affiliation", DOMAINS),
    ("/api/v1/mail/contact-rules", RULES),
    ("/api/v1/mail/mailboxes/*/contact-rules", RULES),
    ("/api/v1/identities/*/mail-contact-rules", RULES),
    ("/api/v1/phone/contact-rules", RULES),
    ("/api/v1/phone/numbers/*/contact-rules", RULES),
    ("/api/v1/identities/*/phone-contact-rules", RULES),
    ("/api/v1/imessage/contact-rules", RULES),
    ("/api/v1/imessage/identities/*/contact-rules", RULES),
    ("/api/v1/slack/contact-rules", RULES),
    ("/api/v1/identities/*/slack-contact-rules", RULES),
    ("/api/v1/phone/numbers/*/texts", TEXTS),
    ("/api/v1/phone/sms-opt-ins", TEXTS),
    ("/api/v1/phone/calls", CALLS),
    ("/api/v1/phone/place-call", CALLS),
    ("/api/v1/phone/numbers/*/search", CALLS),
    ("/api/v1/phone/hosted-agent-config", VOICE),
    ("/api/v1/phone/hosted-agent-voices", VOICE),
    ("/api/v1/imessage/triage-number", "This service has no iMessage triage number"),
    ("/api/v1/imessage", "This service carries no iMessages"),
    ("/api/v1/contacts", CONTACTS),
    ("/api/v1/identities/*/contacts", CONTACTS),
    ("/api/v1/identities/*/contact-permissions", CONTACTS),
    ("/api/v1/identities/*/contact-communication-policies", CONTACTS),
    ("/api/v1/notes", "This service does not keep notes"),
    ("/api/v1/identities/*/a2a", A2A),
    ("/api/v1/a2a", A2A),
    ("/a2a/directory", "This service has no public directory"),
    ("/api/v1/identities/*/companion", "This service has no companions"),
    ("/api/v1/tunnels/*/sign-csr", "This service signs no certificates of tunnels"),
    ("/api/v1/agent-signup", "This service has no signup: its operator creates organizations"),
    ("/api/v1/slack", "This service is not connected to Slack"),
    ("/api/v1/whatsapp", "This service is not connected to WhatsApp"),
    ("/api/v1/billing", "This service bills nothing"),
];

const MAIL: &str = "This service carries no mail";
const DOMAINS: &str = "This service has one mail domain, which its operator sets";
const RULES: &str = "This service does not keep contact rules";
const TEXTS: &str = "This service carries no text messages";
const CALLS: &str = "This service carries no calls";
const VOICE: &str = "This service has no voice agents";
const CONTACTS: &str = "This service does not keep contacts";
const A2A: &str = "This service does not carry A2A";

/// The reason why nothing is served at this path, if the hosted API serves something there.
pub(crate) fn reason(path: &str) -> Option<&'static str> {
    UNSERVED.iter().find(|(prefix, _)| is_below(path, prefix)).map(|(_, reason)| *reason)
}

fn is_below(path: &str, prefix: &str) -> bool {
    let mut segments = path.split('/');
    prefix
        .split('/')
        .all(|expected| segments.next().is_some_and(|found| expected == "*" || expected == found))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::{UNSERVED, reason};

    #[test]
    fn a_prefix_ends_with_a_segment() {
        assert!(reason("/api/v1/contacts").is_some());
        assert!(reason("/api/v1/contacts/x/access").is_some());
        assert!(reason("/api/v1/identities/alpha/contacts").is_some());
        for path in ["/api/v1/contactsx", "/contacts", "/api/v1/identities/contacts", "/api/v1", "/", ""] {
            assert_eq!(reason(path), None, "{path}");
        }
    }

    #[test]
    fn nothing_that_is_served_is_said_not_to_be() {
        let document: Value = serde_json::from_str(crate::document()).unwrap();
        let served: BTreeSet<&String> = document["paths"].as_object().unwrap().keys().collect();
        let pattern = |path: &str| -> String {
            let segments =
                path.split('/').map(|segment| if segment.starts_with('{') { "*" } else { segment });
            segments.collect::<Vec<_>>().join("/")
        };
        for (prefix, _) in UNSERVED {
            assert!(!served.iter().any(|path| pattern(path) == prefix), "{prefix} is served");
        }
    }
}
