//! The layout of keys. One byte says what it is; a name that something follows is preceded by its length, so that no two
//! different things can ever have the same key (tenant `a_b` with event `c`, tenant `a` with event `b_c`).
//!
//! | key | value |
//! |---|---|
//! | `s` name | a setting of the whole server |
//! | `u` username | a user |
//! | `n` tenant, event name | the position of the latest event of that name |
//! | `e` tenant, position | an event |
//! | `f` tenant | the floor: up to this position only the latest of each name is kept |

use crate::domain::{Position, TenantName, Username};

/// The prefix of all users.
pub const USERS: &[u8] = b"u";

pub fn setting(name: &str) -> Vec<u8> {
    [b"s", name.as_bytes()].concat()
}

pub fn user(username: &Username) -> Vec<u8> {
    [USERS, username.as_str().as_bytes()].concat()
}

/// The prefix of everything of one kind that belongs to one tenant.
fn of_tenant(kind: u8, tenant: &TenantName, room: usize) -> Vec<u8> {
    let tenant = tenant.as_str().as_bytes();
    let mut key = Vec::with_capacity(3 + tenant.len() + room);
    key.push(kind);
    // A name has at most 256 bytes, which two bytes can count.
    key.extend_from_slice(&(tenant.len() as u16).to_be_bytes());
    key.extend_from_slice(tenant);
    key
}

/// The index entry of an event name; with a part of a name, the prefix of all names that begin so.
pub fn name(tenant: &TenantName, name: &str) -> Vec<u8> {
    let mut key = of_tenant(b'n', tenant, name.len());
    key.extend_from_slice(name.as_bytes());
    key
}

/// An event. Positions are big-endian, so that keys sort in commit order.
pub fn event(tenant: &TenantName, position: Position) -> Vec<u8> {
    let mut key = of_tenant(b'e', tenant, 8);
    key.extend_from_slice(&position.get().to_be_bytes());
    key
}

/// The position that an event's key ends with.
pub fn position(event_key: &[u8]) -> Option<Position> {
    let (_, tail) = event_key.split_last_chunk::<8>()?;
    Some(Position::new(u64::from_be_bytes(*tail)))
}

pub fn floor(tenant: &TenantName) -> Vec<u8> {
    of_tenant(b'f', tenant, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::EventName;
    use proptest::prelude::*;

    fn tenant() -> impl Strategy<Value = TenantName> {
        "[a_b\\x7e]{1,4}|[a-z]{250,256}".prop_map(|text| TenantName::parse(&text).unwrap())
    }

    fn event_name() -> impl Strategy<Value = EventName> {
        "[a_b\\x7e]{1,4}".prop_map(|text| EventName::parse(&text).unwrap())
    }

    proptest! {
        #[test]
        fn two_different_things_never_share_a_key(
            (t1, n1, p1) in (tenant(), event_name(), 0..3_u64),
            (t2, n2, p2) in (tenant(), event_name(), 0..3_u64),
        ) {
            let same_name = t1 == t2 && n1 == n2;
            prop_assert_eq!(name(&t1, n1.as_str()) == name(&t2, n2.as_str()), same_name);
            let same_event = t1 == t2 && p1 == p2;
            let (p1, p2) = (Position::new(p1), Position::new(p2));
            prop_assert_eq!(event(&t1, p1) == event(&t2, p2), same_event);
            prop_assert_eq!(floor(&t1) == floor(&t2), t1 == t2);
        }

        #[test]
        fn a_tenants_prefix_holds_none_of_anothers_keys(t1 in tenant(), t2 in tenant(), n in event_name()) {
            prop_assert_eq!(name(&t2, n.as_str()).starts_with(&name(&t1, "")), t1 == t2);
        }

        #[test]
        fn an_events_key_tells_its_position(t in tenant(), p in any::<u64>()) {
            prop_assert_eq!(position(&event(&t, Position::new(p))), Some(Position::new(p)));
        }
    }
}
