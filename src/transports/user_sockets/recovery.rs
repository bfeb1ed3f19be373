//! Connection state recovery: a client that comes back says which event it got last, and is told whether it has missed nothing.
//!
//! What a client shows lets nobody in, and opens nobody's stream: the sign-in does. So it need not be a secret, and nothing is kept of it
//! here: it works as well after the server was started anew.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value};

use crate::app::{Events, LastSeen};
use crate::domain::Position;
use crate::events::{First, Start};
use crate::transports::socket_io::Recovery;

/// Between the parts of a `pid`: no id and no username has one.
const BETWEEN: char = '/';

/// Which events a client asks for, as a number: with other events it would miss those that it has not asked for before. It may be another
/// number in another version of Broker; then clients begin anew.
pub fn wanted(auth: &Map<String, Value>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for field in ["events", "except", "transient"] {
        auth.get(field).map(Value::to_string).hash(&mut hasher);
    }
    hasher.finish()
}

/// What the client has seen by what it kept of an earlier socket, if that was one of this user, for these events.
pub fn known(recovery: Recovery<'_>, username: &str, wanted: u64) -> Option<LastSeen> {
    let (began_after, rest) = recovery.pid.split_once(BETWEEN)?;
    let (own, of) = rest.split_once(BETWEEN)?;
    // A page on which another user signs in keeps what it was given for the one before.
    if of != username || !own.ends_with(&format!("-{wanted:016x}")) {
        return None;
    }
    match LastSeen::parse(recovery.offset.unwrap_or(began_after)) {
        LastSeen::Nothing => None,
        seen => Some(seen),
    }
}

/// What a client shows to be recovered: after which event its stream began, if not with the latest event of every name, and whose it is.
/// Between them stands what makes it unlike others, and for which events it is: a client that is given the one that it showed takes
/// itself for recovered.
pub fn pid(start: &Start, username: &str, wanted: u64, events: &Events) -> String {
    let began_after = if is_exact(start) { events.id_at(start.after).to_string() } else { String::new() };
    let own = u64::from_be_bytes(crate::random::bytes());
    format!("{began_after}{BETWEEN}{own:016x}-{wanted:016x}{BETWEEN}{username}")
}

/// Whether a stream gives every event after a position that its client knows, and none again.
pub fn is_exact(start: &Start) -> bool {
    start.reset.is_none() && start.first == First::Events && start.after > Position::START
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn other_names_are_wanted_by_another_number_and_a_token_does_not_count() {
        let of = |auth: Value| wanted(auth.as_object().unwrap());
        assert_eq!(of(json!({ "token": "a", "events": "x" })), of(json!({ "token": "b", "events": "x" })));
        let all = [json!({}), json!({ "events": "x" }), json!({ "events": "x,y" }), json!({ "except": "x" })];
        let numbers: std::collections::HashSet<_> = all.into_iter().map(of).collect();
        assert_eq!(numbers.len(), 4);
    }

    fn seen(pid: &str, offset: Option<&str>) -> String {
        format!("{:?}", known(Recovery { pid, offset }, "zoe", 7))
    }

    #[test]
    fn what_was_seen_is_the_offset_or_where_the_stream_began_and_only_that_of_the_same_user() {
        let (began, offset) = ("0000000000000007000042", "0000000000000009000042");
        let id = |id| format!("{:?}", Some(LastSeen::parse(id)));
        let own = "0-0000000000000007";
        assert_eq!(seen(&format!("{began}/{own}/zoe"), Some(offset)), id(offset));
        assert_eq!(seen(&format!("{began}/{own}/zoe"), None), id(began));
        assert_eq!(seen(&format!("/{own}/zoe"), Some(offset)), id(offset));
        let other = "0-0000000000000008";
        for pid in [
            &format!("{began}/{own}/bob"),
            "/zoe",
            "zoe",
            "",
            "//",
            &format!("/{own}/zoe/"),
            &format!("/{other}/zoe"),
            "/0/zoe",
        ] {
            assert_eq!(seen(pid, Some(offset)), "None", "{pid}");
        }
        assert_eq!(seen(&format!("/{own}/zoe"), None), "None");
        assert_eq!(seen(&format!("/{own}/zoe"), Some("hello")), "Some(Unknown)");
    }
}
