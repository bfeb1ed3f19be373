//! The layout of keys. The first byte tells the kind. A name that another field follows is preceded by its length, so
//! that two different things never have the same key (tenant `a_b` with event `c`, tenant `a` with event `b_c`).
//!
//! | key | value |
//! |---|---|
//! | `s` name | a setting of the whole server |
//! | `d` position | the epoch that begins there |
//! | `u` username | a user |
//! | `l` version, kind, SHA-256 of a skeleton | the first usernames or tenant names with this skeleton |
//! | `t` tenant | empty: some user has or had this tenant |
//! | `n` tenant, event name | the index entry of the name: the position of its newest event; position, removal, expiry, stream and chunks of its latest one |
//! | `e` tenant, position | an event |
//! | `p` position, number | a chunk of the data of the event at that position |
//! | `f` tenant | the floor: up to this position only the latest event of each name is kept |
//! | `g` tenant | the position up to which removals are forgotten |
//! | `h` tenant | the position up to which transient events are forgotten |
//! | `c` tenant | the number of names that exist |
//! | `x` moment, tenant, position | an event that expires at that moment: its user and name, or what a transient event leaves |
//! | `w` stream, tenant, event name | an event that is bound to that stream: its position and user |
//! | `b` username | the number of events that are bound to streams of this user |
//! | `v` stream, tenant or nothing | empty: the events bound to that stream are being removed, in that tenant or in all |
//! | `i` username, idempotency key | the remembered answer to an insert with that key |
//! | `j` moment, username, idempotency key | empty: this answer may be forgotten at that moment |
//! | `k` username, number | the idempotency key of the user's answer with this number |
//! | `o` id | the token of a channel, by what the token is found |
//! | `r` moment, id | empty: this token may be forgotten at that moment |
//! | `E` username | what is kept of a deleted user, and is being erased |
//! | `Q` username | the name of a deleted user, which nobody gets before this moment |
//! | `R` moment, username | empty: this name may be given again at that moment |
//! | `I` id | an invite, by what it is found |
//! | `J` moment, id | empty: this invite ends at that moment |
//! | `M` username, id | empty: this invite was made by this user |
//! | `N` username | the number of invites of this user |
//! | `y` id | a session |
//! | `m` username | the user's generation, and the ids of the sessions in it |
//! | `z` moment, id | empty: this session may have expired at that moment |
//! | `q` username | the range of the user's answer numbers: the oldest remembered, and the next |
//! | `a` username, client identifier | the number of a session of MQTT |
//! | `A` username | the numbers of the sessions of MQTT that the user has |
//! | `S` number | a session of MQTT |
//! | `P` number | how far it has come |
//! | `Y` number, kind, what | its other parts: `keys/mqtt_sessions.rs` |
//! | `T` moment, number | empty: its will or its end may be due at that moment |
//! | `G` moment, number | the tenant of a forgotten session of MQTT of which rows are left |
//! | `K` tenant, position | an event that the tail has lost and that a session of MQTT still needs |
//! | `C` tenant, position | by how many sessions that event is needed |

mod accounts;
mod channel_tokens;
mod mqtt_sessions;
mod sessions;

use aws_lc_rs::digest;

use crate::domain::{EventName, Position, SKELETON_VERSION, Skeleton, TenantName, Timestamp, Username};

pub use accounts::{
    ERASURES, INVITE_DUE, QUARANTINE_DUE, erasure, invite, invite_due, invite_made_by, invites_made_by, invites_of,
    of_invite_due, of_invite_made_by, of_quarantine_due, quarantine, quarantine_due,
};
pub use channel_tokens::{CHANNEL_TOKEN_DUE, channel_token, channel_token_due, of_channel_token_due};
pub use mqtt_sessions::{
    MQTT_DUE, MQTT_LEFT, MQTT_SESSIONS, MqttPart, is_kept_event, keepers, kept_event, kept_events_of_all, mqtt_due,
    mqtt_left, mqtt_part, mqtt_parts, mqtt_progress, mqtt_session, mqtt_session_name, mqtt_session_names,
    mqtt_sessions_of, of_mqtt_due, of_mqtt_part, of_mqtt_session,
};
pub use sessions::{SESSION_DUE, of_session_due, session, session_due, sessions_of};

/// The prefix of all users.
pub const USERS: &[u8] = b"u";

/// The setting that holds the time of the newest commit, to within a minute.
pub const TIME_SETTING: &str = "time";
/// The setting that holds the epochs that no start may draw: those of a course of events from before a restore.
pub const SPENT_EPOCHS_SETTING: &str = "spent_epochs";
/// The setting that holds how far sled has come.
pub const PROGRESS_SETTING: &str = "progress";

pub fn setting(name: &str) -> Vec<u8> {
    [b"s", name.as_bytes()].concat()
}

pub fn user(username: &Username) -> Vec<u8> {
    [USERS, username.as_str().as_bytes()].concat()
}

/// The username in the key of a user.
pub fn of_user(key: &[u8]) -> Option<Username> {
    Username::parse(std::str::from_utf8(key.get(1..)?).ok()?).ok()
}

/// The kinds of names that must not look like each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    User,
    Tenant,
}

/// The key that marks a skeleton as taken. A skeleton may be ten times as long as its name, so the key has its hash.
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

/// The tenant in a key of [`TENANTS`].
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

/// The prefix of all keys of one kind that belong to a tenant.
fn of_tenant(kind: u8, tenant: &TenantName, room: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(3 + tenant.as_str().len() + room);
    key.push(kind);
    put_name(&mut key, tenant.as_str());
    key
}

/// Appends a name, preceded by its length. A name has at most 256 bytes, so two bytes are enough.
fn put_name(key: &mut Vec<u8>, name: &str) {
    key.extend_from_slice(&(name.len() as u16).to_be_bytes());
    key.extend_from_slice(name.as_bytes());
}

/// The name at the beginning of some bytes, and the rest.
fn take_name(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (name, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    Some((std::str::from_utf8(name).ok()?, rest))
}

/// The index entry of an event name. With a part of a name, it is the prefix of all names that begin with it.
pub fn name(tenant: &TenantName, name: &str) -> Vec<u8> {
    let mut key = of_tenant(b'n', tenant, name.len());
    key.extend_from_slice(name.as_bytes());
    key
}

/// The event name in an index entry of a tenant.
pub fn name_of<'a>(tenant: &TenantName, name_key: &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(name_key.get(3 + tenant.as_str().len()..)?).ok()
}

/// The end of the range of keys with a prefix.
pub fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    // Every key begins with a letter, so there always is a byte that can be raised.
    while end.pop_if(|last| *last == u8::MAX).is_some() {}
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// The first key that may come after this one.
pub fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The key of an event. Positions are big-endian, so that keys sort in commit order.
pub fn event(tenant: &TenantName, position: Position) -> Vec<u8> {
    let mut key = of_tenant(b'e', tenant, 8);
    key.extend_from_slice(&position.get().to_be_bytes());
    key
}

/// A chunk of the data of the event at a position. The position alone is enough: no other event of any tenant has it or
/// will have it.
pub fn chunk(position: Position, number: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(CHUNK_KEY_BYTES);
    key.push(b'p');
    key.extend_from_slice(&position.get().to_be_bytes());
    key.push(number);
    key
}

/// The length of a chunk's key.
pub const CHUNK_KEY_BYTES: usize = 1 + 8 + 1;

/// The position at the end of an event's key.
pub fn position(event_key: &[u8]) -> Option<Position> {
    let (_, tail) = event_key.split_last_chunk::<8>()?;
    Some(Position::new(u64::from_be_bytes(*tail)))
}

/// The range of the events of all tenants after this one.
pub fn events_of_tenants_after(tenant: Option<&TenantName>) -> (Vec<u8>, Vec<u8>) {
    (tenant.map_or_else(|| b"e".to_vec(), |tenant| event(tenant, Position::END)), b"f".to_vec())
}

/// The tenant in the key of an event.
pub fn tenant_of_event(event_key: &[u8]) -> Option<TenantName> {
    TenantName::parse(take_name(event_key.get(1..)?)?.0).ok()
}

pub fn floor(tenant: &TenantName) -> Vec<u8> {
    of_tenant(b'f', tenant, 0)
}

pub fn forgotten(tenant: &TenantName) -> Vec<u8> {
    of_tenant(b'g', tenant, 0)
}

pub fn forgotten_transients(tenant: &TenantName) -> Vec<u8> {
    of_tenant(b'h', tenant, 0)
}

pub fn names(tenant: &TenantName) -> Vec<u8> {
    of_tenant(b'c', tenant, 0)
}

/// The first byte of the keys of expiries.
pub const EXPIRY: u8 = b'x';
/// The first byte of the keys of answers that may be forgotten.
pub const ANSWER_DUE: u8 = b'j';

/// The first key of a kind that is due at a moment.
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

/// The tenant and the position in the key of an expiry.
pub fn of_expiry(key: &[u8]) -> Option<(TenantName, Position)> {
    let (tenant, rest) = take_name(key.get(9..)?)?;
    Some((TenantName::parse(tenant).ok()?, Position::new(u64::from_be_bytes(rest.try_into().ok()?))))
}

/// The prefix of the events that are bound to a stream; only in one tenant, if there is one.
pub fn bound_to(stream: u64, tenant: Option<&TenantName>) -> Vec<u8> {
    of_stream(b'w', stream, tenant)
}

/// The prefix of all events that are bound to a stream.
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

/// The prefix of the streams whose bound events are being removed.
pub const ENDED: &[u8] = b"v";

pub fn ended(stream: u64, tenant: Option<&TenantName>) -> Vec<u8> {
    of_stream(b'v', stream, tenant)
}

/// The stream in such a key, and the tenant if it ended in that tenant only.
pub fn of_ended(key: &[u8]) -> Option<(u64, Option<TenantName>)> {
    let (stream, rest) = key.get(1..)?.split_first_chunk::<8>()?;
    let tenant = if rest.is_empty() { None } else { Some(TenantName::parse(take_name(rest)?.0).ok()?) };
    Some((u64::from_be_bytes(*stream), tenant))
}

/// The number of events that are bound to streams of a user.
pub fn bound_of(username: &Username) -> Vec<u8> {
    [b"b", username.as_str().as_bytes()].concat()
}

/// The stream, the tenant and the name in the key of a bound event.
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

/// The row that says when an answer may be forgotten.
pub fn answer_due(at: Timestamp, answer: &[u8]) -> Vec<u8> {
    let mut key = due(ANSWER_DUE, at);
    key.extend_from_slice(&answer[1..]);
    key
}

/// The moment in such a key, and the key of the answer.
pub fn of_answer_due(key: &[u8]) -> Option<(Timestamp, Vec<u8>)> {
    let (at, rest) = key.get(1..)?.split_first_chunk::<8>()?;
    Some((Timestamp::from_millis(u64::from_be_bytes(*at)), [b"i", rest].concat()))
}

/// The row that holds the idempotency key of a user's answer with a number.
pub fn numbered_answer(username: &Username, number: u64) -> Vec<u8> {
    let mut key = vec![b'k'];
    put_name(&mut key, username.as_str());
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The user or guest in the key of an answer.
pub fn user_of_answer(answer_key: &[u8]) -> Option<Username> {
    Username::from_stored(take_name(answer_key.get(1..)?)?.0).ok()
}

/// The range of a user's answer numbers: `codec::encode_answer_numbers`.
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
