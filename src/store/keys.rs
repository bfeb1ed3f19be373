//! The layout of keys. One byte says what it is; a name that something follows is preceded by its length, so that no two
//! different things can ever have the same key (tenant `a_b` with event `c`, tenant `a` with event `b_c`).
//!
//! | key | value |
//! |---|---|
//! | `s` name | a setting of the whole server |
//! | `d` position | the epoch that begins there |
//! | `u` username | a user |
//! | `l` version, kind, SHA-256 of a skeleton | the first name of that kind, a username or a tenant's, that has this skeleton |
//! | `t` tenant | that some user has or had this tenant |
//! | `n` tenant, event name | the position of the latest event of that name, whether that is a removal, when it expires, and with which stream it goes |
//! | `e` tenant, position | an event |
//! | `p` position, number | a chunk of the data of the event at that position, where that is too large for its row |
//! | `f` tenant | the floor: up to this position only the latest of each name is kept |
//! | `g` tenant | up to this position removals have been forgotten |
//! | `c` tenant | how many names there are that have not been removed |
//! | `x` moment, tenant, position | an event that expires then: who inserted it, and its name |
//! | `w` stream, tenant, event name | the position of an event that goes when that stream does, and who inserted it |
//! | `b` username | how many events of this user's go with a stream |
//! | `v` stream, tenant or nothing | that what goes with the stream, in that tenant or in all, is being removed |
//! | `i` username, idempotency key | what an insert with that key was, and its answer |
//! | `j` moment, username, idempotency key | that this answer may be forgotten then |
//! | `k` username, number | the idempotency key that was this user's so many-th |
//! | `q` username | which of this user's idempotency keys is the oldest that may be remembered, and how many they have used |

use aws_lc_rs::digest;

use crate::domain::{EventName, Position, SKELETON_VERSION, Skeleton, TenantName, Timestamp, Username};

/// The prefix of all users.
pub const USERS: &[u8] = b"u";

/// The setting that holds the time of the newest commit, to within a minute.
pub const TIME_SETTING: &str = "time";
/// The setting that holds how far sled has come.
pub const PROGRESS_SETTING: &str = "progress";

pub fn setting(name: &str) -> Vec<u8> {
    [b"s", name.as_bytes()].concat()
}

pub fn user(username: &Username) -> Vec<u8> {
    [USERS, username.as_str().as_bytes()].concat()
}

/// Who has a user's key.
pub fn of_user(key: &[u8]) -> Option<Username> {
    Username::parse(std::str::from_utf8(key.get(1..)?).ok()?).ok()
}

/// What has a name that must not look like another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    User,
    Tenant,
}

/// Where a skeleton is taken. It may be ten times as long as the name; its hash is not.
pub fn skeleton(kind: NameKind, skeleton: &Skeleton) -> Vec<u8> {
    let kind = match kind {
        NameKind::User => b'u',
        NameKind::Tenant => b't',
    };
    let hash = digest::digest(&digest::SHA256, skeleton.as_str().as_bytes());
    [&[b'l', SKELETON_VERSION, kind], hash.as_ref()].concat()
}

/// The prefix of all tenants.
pub const TENANTS: &[u8] = b"t";

pub fn tenant(tenant: &TenantName) -> Vec<u8> {
    of_tenant(b't', tenant, 0)
}

/// Which tenant has a key of [`TENANTS`].
pub fn of_tenant_key(key: &[u8]) -> Option<TenantName> {
    TenantName::parse(take_name(key.get(1..)?)?.0).ok()
}

/// The prefix of all epochs.
pub const EPOCHS: &[u8] = b"d";

pub fn epoch(first: Position) -> Vec<u8> {
    [EPOCHS, &first.get().to_be_bytes()].concat()
}

/// The first position of an epoch.
pub fn of_epoch(key: &[u8]) -> Option<Position> {
    Some(Position::new(u64::from_be_bytes(key.get(1..)?.try_into().ok()?)))
}

/// The prefix of everything of one kind that belongs to one tenant.
fn of_tenant(kind: u8, tenant: &TenantName, room: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(3 + tenant.as_str().len() + room);
    key.push(kind);
    put_name(&mut key, tenant.as_str());
    key
}

/// A name, preceded by its length: it has at most 256 bytes, which two bytes can count.
fn put_name(key: &mut Vec<u8>, name: &str) {
    key.extend_from_slice(&(name.len() as u16).to_be_bytes());
    key.extend_from_slice(name.as_bytes());
}

/// The name that some bytes begin with, and what follows it.
fn take_name(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (name, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    Some((std::str::from_utf8(name).ok()?, rest))
}

/// The index entry of an event name; with a part of a name, the prefix of all names that begin so.
pub fn name(tenant: &TenantName, name: &str) -> Vec<u8> {
    let mut key = of_tenant(b'n', tenant, name.len());
    key.extend_from_slice(name.as_bytes());
    key
}

/// The event name in an index entry of a tenant.
pub fn name_of<'a>(tenant: &TenantName, name_key: &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(name_key.get(3 + tenant.as_str().len()..)?).ok()
}

/// Where the keys that begin so have ended.
pub fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    // Every key begins with a letter, so there is always a byte that can be raised.
    while end.pop_if(|last| *last == u8::MAX).is_some() {}
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// The first key that may come after another.
pub fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// An event. Positions are big-endian, so that keys sort in commit order.
pub fn event(tenant: &TenantName, position: Position) -> Vec<u8> {
    let mut key = of_tenant(b'e', tenant, 8);
    key.extend_from_slice(&position.get().to_be_bytes());
    key
}

/// A chunk of the data of the event at a position: no other event, of whatever tenant, has or will have that.
pub fn chunk(position: Position, number: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(CHUNK_KEY_BYTES);
    key.push(b'p');
    key.extend_from_slice(&position.get().to_be_bytes());
    key.push(number);
    key
}

/// How long the key of a chunk is.
pub const CHUNK_KEY_BYTES: usize = 1 + 8 + 1;

/// The position that an event's key ends with.
pub fn position(event_key: &[u8]) -> Option<Position> {
    let (_, tail) = event_key.split_last_chunk::<8>()?;
    Some(Position::new(u64::from_be_bytes(*tail)))
}

/// The range in which the tenants who have events, and who come after one, have theirs.
pub fn events_of_tenants_after(tenant: Option<&TenantName>) -> (Vec<u8>, Vec<u8>) {
    (tenant.map_or_else(|| b"e".to_vec(), |tenant| event(tenant, Position::END)), b"f".to_vec())
}

/// Whose event it is.
pub fn tenant_of_event(event_key: &[u8]) -> Option<TenantName> {
    TenantName::parse(take_name(event_key.get(1..)?)?.0).ok()
}

pub fn floor(tenant: &TenantName) -> Vec<u8> {
    of_tenant(b'f', tenant, 0)
}

pub fn forgotten(tenant: &TenantName) -> Vec<u8> {
    of_tenant(b'g', tenant, 0)
}

pub fn names(tenant: &TenantName) -> Vec<u8> {
    of_tenant(b'c', tenant, 0)
}

/// The first byte of the keys of what expires.
pub const EXPIRY: u8 = b'x';
/// The first byte of the keys of answers that may be forgotten.
pub const ANSWER_DUE: u8 = b'j';

/// Where the keys of one kind begin that are due at a moment.
pub fn due(kind: u8, at: Timestamp) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&at.as_millis().to_be_bytes());
    key
}

pub fn expiry(at: Timestamp, tenant: &TenantName, position: Position) -> Vec<u8> {
    let mut key = due(EXPIRY, at);
    put_name(&mut key, tenant.as_str());
    key.extend_from_slice(&position.get().to_be_bytes());
    key
}

/// What an expiry's key says beside the moment.
pub fn of_expiry(key: &[u8]) -> Option<(TenantName, Position)> {
    let (tenant, rest) = take_name(key.get(9..)?)?;
    Some((TenantName::parse(tenant).ok()?, Position::new(u64::from_be_bytes(rest.try_into().ok()?))))
}

/// The prefix of what goes when a stream does, in one tenant where one is given.
pub fn bound_to(stream: u64, tenant: Option<&TenantName>) -> Vec<u8> {
    of_stream(b'w', stream, tenant)
}

/// The prefix of what goes when some stream does.
pub const BOUND: &[u8] = b"w";

pub fn bound(stream: u64, tenant: &TenantName, name: &EventName) -> Vec<u8> {
    let mut key = bound_to(stream, Some(tenant));
    key.extend_from_slice(name.as_str().as_bytes());
    key
}

fn of_stream(kind: u8, stream: u64, tenant: Option<&TenantName>) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&stream.to_be_bytes());
    if let Some(tenant) = tenant {
        put_name(&mut key, tenant.as_str());
    }
    key
}

/// The prefix of the streams whose events are being removed.
pub const ENDED: &[u8] = b"v";

pub fn ended(stream: u64, tenant: Option<&TenantName>) -> Vec<u8> {
    of_stream(b'v', stream, tenant)
}

/// Which stream, and in which tenant alone, where it is one.
pub fn of_ended(key: &[u8]) -> Option<(u64, Option<TenantName>)> {
    let (stream, rest) = key.get(1..)?.split_first_chunk::<8>()?;
    let tenant = if rest.is_empty() { None } else { Some(TenantName::parse(take_name(rest)?.0).ok()?) };
    Some((u64::from_be_bytes(*stream), tenant))
}

/// How many events of a user's go with a stream.
pub fn bound_of(username: &Username) -> Vec<u8> {
    [b"b", username.as_str().as_bytes()].concat()
}

/// What the key of what goes with a stream says.
pub fn of_bound(key: &[u8]) -> Option<(u64, TenantName, EventName)> {
    let (stream, rest) = key.get(1..)?.split_first_chunk::<8>()?;
    let (tenant, name) = take_name(rest)?;
    let name = EventName::parse(std::str::from_utf8(name).ok()?).ok()?;
    Some((u64::from_be_bytes(*stream), TenantName::parse(tenant).ok()?, name))
}

pub fn answer(username: &Username, idempotency_key: &str) -> Vec<u8> {
    let mut key = vec![b'i'];
    put_name(&mut key, username.as_str());
    key.extend_from_slice(idempotency_key.as_bytes());
    key
}

/// That an answer may be forgotten at a moment.
pub fn answer_due(at: Timestamp, answer: &[u8]) -> Vec<u8> {
    let mut key = due(ANSWER_DUE, at);
    key.extend_from_slice(&answer[1..]);
    key
}

/// The moment and the key of the answer that may be forgotten then.
pub fn of_answer_due(key: &[u8]) -> Option<(Timestamp, Vec<u8>)> {
    let (at, rest) = key.get(1..)?.split_first_chunk::<8>()?;
    Some((Timestamp::from_millis(u64::from_be_bytes(*at)), [b"i", rest].concat()))
}

/// The idempotency key that was a user's so many-th.
pub fn numbered_answer(username: &Username, number: u64) -> Vec<u8> {
    let mut key = vec![b'k'];
    put_name(&mut key, username.as_str());
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// Whose answer it is.
pub fn user_of_answer(answer_key: &[u8]) -> Option<Username> {
    Username::parse(take_name(answer_key.get(1..)?)?.0).ok()
}

/// Which of a user's idempotency keys may be remembered: `codec::encode_answer_numbers`.
pub fn answer_numbers(username: &Username) -> Vec<u8> {
    [b"q", username.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
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
