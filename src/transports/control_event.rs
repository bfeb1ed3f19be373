//! The names and the data of control events, the same on every transport of our own.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::domain::EventId;
use crate::events::{ControlEvent, End, Reset};

/// What a control event is called, and what it says. `id` is what its reader resumes from. The name begins with `$`, which no event's
/// name does.
pub fn control_event(control: &ControlEvent<'_>, id: EventId) -> (Cow<'static, str>, Value) {
    match control {
        ControlEvent::Synced { change: None } => ("$synced".into(), json!({ "id": id.to_string() })),
        ControlEvent::Synced { change: Some(change) } => {
            ("$synced".into(), json!({ "id": id.to_string(), "change": change }))
        }
        ControlEvent::Reset(reason) => ("$reset".into(), json!({ "reason": reason_name(*reason) })),
        ControlEvent::Presence { username, person } => {
            let data = match person {
                None => json!({ "online": false }),
                Some(person) => json!({ "online": true, "since": person.since, "streams": person.streams }),
            };
            (format!("$presence/{username}").into(), data)
        }
        ControlEvent::Left { name } => ("$left".into(), json!({ "event": name })),
        ControlEvent::End(why) => ("$end".into(), json!({ "reason": end_name(*why), "retry": retry(*why) })),
    }
}

/// In how many milliseconds a client may come back unchanged; `None` if that is of no use.
fn retry(why: End) -> Option<u32> {
    match why {
        End::Stopping { back_in } => Some(back_in),
        _ => None,
    }
}

fn end_name(why: End) -> Option<&'static str> {
    match why {
        End::Expired => Some("expired"),
        End::Revoked => Some("revoked"),
        End::Replaced => Some("replaced"),
        End::TooManyStreams => Some("limit"),
        End::Stopping { .. } => Some("stopping"),
        // Nobody is told of these.
        End::Unreadable | End::Behind | End::Gone => None,
    }
}

fn reason_name(reason: Reset) -> &'static str {
    match reason {
        Reset::UnknownId => "unknown_id",
        Reset::OtherTenant => "other_tenant",
        Reset::OtherScopes => "other_scopes",
        Reset::NotKept => "not_kept",
    }
}
