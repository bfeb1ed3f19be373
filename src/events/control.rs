//! Marks: what a stream says about itself, to who asks for it. Their names begin with `$`, which no event's name does. Each
//! has the id of a position up to which everything was given, so that who resumes after one misses nothing: where something is
//! still to follow that is of before, that is the beginning.

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::frame::write_frame;
use super::presence::Person;
use crate::domain::{EventId, Username};

/// Why what a stream goes on with is not what came after the last event that its reader saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The last event's id is not of this database, or from after its end: it was restored, or is another.
    UnknownId,
    /// The last event is of before its reader came to this tenant.
    OtherTenant,
    /// The last event is of before its reader's scopes changed.
    OtherScopes,
    /// What came after it is no longer kept.
    NotKept,
}

fn mark(name: &str, id: EventId, data: &Value) -> Bytes {
    let mut bytes = BytesMut::new();
    write_frame(&mut bytes, name, &data.to_string(), id);
    bytes.freeze()
}

/// Everything up to here has been given: what comes now is new.
pub fn synced(id: EventId) -> Bytes {
    mark("$synced", id, &json!({ "id": id.to_string() }))
}

/// The latest event of every name follows, in place of what was missed.
pub fn reset(reason: Reset, id: EventId) -> Bytes {
    let reason = match reason {
        Reset::UnknownId => "unknown_id",
        Reset::OtherTenant => "other_tenant",
        Reset::OtherScopes => "other_scopes",
        Reset::NotKept => "not_kept",
    };
    mark("$reset", id, &json!({ "reason": reason }))
}

/// How it stands with somebody.
pub fn presence(username: &Username, person: Option<&Person>, id: EventId) -> Bytes {
    let data = person.map_or_else(
        || json!({ "online": false }),
        |person| json!({ "online": true, "since": person.since, "streams": person.streams }),
    );
    mark(&format!("$presence/{username}"), id, &data)
}

/// The events of a name may no longer be seen.
pub fn left(name: &str, id: EventId) -> Bytes {
    mark("$left", id, &json!({ "event": name }))
}
