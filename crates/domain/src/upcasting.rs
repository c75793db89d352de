//! Events that were stored in an older shape, made to events of the present shape.
//!
//! Every reader that decodes events calls [`upcast`]: live writes, scans, history, rebuilds, replays of exports, and the second
//! reader. Exports and answers keep the stored shape, since that is what was hashed and signed.
//!
//! A new shape of an event gets an upcaster in `UPCASTERS` and an example in `events/`. The old example stays.

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde_json::{Map, Value};

/// The version of an event whose shape has never changed.
const FIRST_VERSION: &str = "1";

/// Makes an event of one version to the next version.
#[derive(Debug)]
struct Upcaster {
    event_type: &'static str,
    from: &'static str,
    to: &'static str,
    change: fn(&mut Map<String, Value>),
}

/// All upcasters. Those of one event are in the order of its versions.
static UPCASTERS: [Upcaster; 1] = [Upcaster {
    event_type: "identity.filter_mode_changed",
    from: "1",
    to: "2",
    change: filter_mode_by_direction,
}];

/// Version 1 was written only if both directions got the same mode.
fn filter_mode_by_direction(payload: &mut Map<String, Value>) {
    let Some(mode) = payload.get("filter_mode").cloned() else { return };
    payload.insert("inbound_filter_mode".to_owned(), mode.clone());
    payload.insert("outbound_filter_mode".to_owned(), mode);
}

impl EventUpcaster for Upcaster {
    fn can_upcast(&self, event_type: &str, event_version: &str) -> bool {
        event_type == self.event_type && event_version == self.from
    }

    fn upcast(&self, mut event: SerializedEvent) -> SerializedEvent {
        if let Value::Object(payload) = &mut event.payload {
            (self.change)(payload);
        }
        SerializedEvent { event_version: self.to.to_owned(), ..event }
    }
}

/// The version in which this software writes an event.
pub fn present_version(event_type: &str) -> &'static str {
    let newest = UPCASTERS.iter().rfind(|upcaster| upcaster.event_type == event_type);
    newest.map_or(FIRST_VERSION, |upcaster| upcaster.to)
}

/// The event in its present version. An event of an unknown version stays as it is.
pub fn upcast(event: SerializedEvent) -> SerializedEvent {
    UPCASTERS.iter().fold(event, |event, upcaster| {
        if upcaster.can_upcast(&event.event_type, &event.event_version) {
            upcaster.upcast(event)
        } else {
            event
        }
    })
}
