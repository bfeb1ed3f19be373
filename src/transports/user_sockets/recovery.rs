//! Connection state recovery: a client that comes back says which event it got last, and is told whether it has missed nothing.
//!
//! What a client shows lets nobody in, and opens nobody's stream: the sign-in does. So it need not be a secret, and nothing is kept of it
//! here: it works as well after the server was started anew.

use crate::app::{Events, LastSeen};
use crate::domain::Position;
use crate::events::{First, Start};
use crate::transports::socket_io::Recovery;

/// Between the parts of a `pid`: no id and no username has one.
const BETWEEN: char = '/';

/// What the client has seen by what it kept of an earlier socket, if that was one of this user.
pub fn known(recovery: Recovery<'_>, username: &str) -> Option<LastSeen> {
    let (began_after, rest) = recovery.pid.split_once(BETWEEN)?;
    let (_, of) = rest.split_once(BETWEEN)?;
    // A page on which another user signs in keeps what it was given for the one before.
    if of != username {
        return None;
    }
    match LastSeen::parse(recovery.offset.unwrap_or(began_after)) {
        LastSeen::Nothing => None,
        seen => Some(seen),
    }
}

/// What a client shows to be recovered: after which event its stream began, if not with the latest event of every name, and whose it is.
/// Between them stands what makes it unlike others: a client that is given the one that it showed takes itself for recovered.
pub fn pid(start: &Start, username: &str, events: &Events) -> String {
    let began_after = if is_exact(start) { events.id_at(start.after).to_string() } else { String::new() };
    let own = u64::from_be_bytes(crate::random::bytes());
    format!("{began_after}{BETWEEN}{own:016x}{BETWEEN}{username}")
}

/// Whether a stream gives every event after a position that its client knows, and none again.
pub fn is_exact(start: &Start) -> bool {
    start.reset.is_none() && start.first == First::Events && start.after > Position::START
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: &str, offset: Option<&str>) -> String {
        format!("{:?}", known(Recovery { pid, offset }, "zoe"))
    }

    #[test]
    fn what_was_seen_is_the_offset_or_where_the_stream_began_and_only_that_of_the_same_user() {
        let (began, offset) = ("0000000000000007000042", "0000000000000009000042");
        let id = |id| format!("{:?}", Some(LastSeen::parse(id)));
        assert_eq!(seen(&format!("{began}/0/zoe"), Some(offset)), id(offset));
        assert_eq!(seen(&format!("{began}/0/zoe"), None), id(began));
        assert_eq!(seen("/0/zoe", Some(offset)), id(offset));
        for pid in ["0000000000000007000042/0/bob", "/zoe", "zoe", "", "//", "/0/zoe/"] {
            assert_eq!(seen(pid, Some(offset)), "None", "{pid}");
        }
        assert_eq!(seen("/0/zoe", None), "None");
        assert_eq!(seen("/0/zoe", Some("hello")), "Some(Unknown)");
    }
}
