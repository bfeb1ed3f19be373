//! Keys of sessions of MQTT. All rows of one but those of its name and its user are under its number.

use std::num::NonZeroU16;

use super::{due, of_tenant, put_name};
use crate::domain::{MqttSessionId, MqttSessionKey, Position, TenantName, Timestamp, Username};

/// The number of a session, by what the session is known by.
pub fn mqtt_session_name(key: &MqttSessionKey) -> Vec<u8> {
    let mut name = mqtt_session_names(&key.username);
    name.extend_from_slice(key.client_id.as_bytes());
    name
}

/// The prefix of the keys by which the sessions of a user are found.
pub fn mqtt_session_names(username: &Username) -> Vec<u8> {
    let mut prefix = vec![b'a'];
    put_name(&mut prefix, username.as_str());
    prefix
}

/// The numbers of the sessions of a user.
pub fn mqtt_sessions_of(username: &Username) -> Vec<u8> {
    [b"A", username.as_str().as_bytes()].concat()
}

/// The prefix of all sessions.
pub const MQTT_SESSIONS: &[u8] = b"S";

/// A session.
pub fn mqtt_session(id: MqttSessionId) -> Vec<u8> {
    numbered(b'S', id)
}

/// The number in such a key.
pub fn of_mqtt_session(key: &[u8]) -> Option<MqttSessionId> {
    Some(MqttSessionId(u64::from_be_bytes(key.get(1..)?.try_into().ok()?)))
}

/// How far a session has come.
pub fn mqtt_progress(id: MqttSessionId) -> Vec<u8> {
    numbered(b'P', id)
}

fn numbered(kind: u8, id: MqttSessionId) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&id.0.to_be_bytes());
    key
}

/// The prefix of the other rows of a session.
pub fn mqtt_parts(id: MqttSessionId) -> Vec<u8> {
    numbered(b'Y', id)
}

/// One of the other rows of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MqttPart {
    /// A message of QoS 2 to the client that is not acknowledged wholly.
    Outgoing(NonZeroU16),
    /// A message of QoS 2 of the client that is not released.
    Unreleased(NonZeroU16),
    /// Up to where messages of QoS 2 have been noted.
    ExactPosition,
    /// A subscription.
    Subscription(Box<str>),
    /// A piece of the will.
    Will(u8),
    /// An event that it still needs and that the tail has lost.
    Queued(Position),
    /// How many of those there are.
    QueueSize,
}

/// The key of such a row.
pub fn mqtt_part(id: MqttSessionId, part: &MqttPart) -> Vec<u8> {
    let mut key = mqtt_parts(id);
    match part {
        MqttPart::Outgoing(id) => {
            key.push(b'o');
            key.extend_from_slice(&id.get().to_be_bytes());
        }
        MqttPart::Unreleased(id) => {
            key.push(b'i');
            key.extend_from_slice(&id.get().to_be_bytes());
        }
        MqttPart::ExactPosition => key.push(b'x'),
        MqttPart::Subscription(filter) => {
            key.push(b's');
            key.extend_from_slice(filter.as_bytes());
        }
        MqttPart::Will(number) => key.extend([b'w', *number]),
        MqttPart::Queued(position) => {
            key.push(b'q');
            key.extend_from_slice(&position.get().to_be_bytes());
        }
        MqttPart::QueueSize => key.push(b'n'),
    }
    key
}

/// What a key with that prefix is of.
pub fn of_mqtt_part(key: &[u8]) -> Option<MqttPart> {
    let (kind, rest) = key.get(9..)?.split_first()?;
    let packet_id = || NonZeroU16::new(u16::from_be_bytes(rest.try_into().ok()?));
    Some(match kind {
        b'o' => MqttPart::Outgoing(packet_id()?),
        b'i' => MqttPart::Unreleased(packet_id()?),
        b'x' if rest.is_empty() => MqttPart::ExactPosition,
        b's' => MqttPart::Subscription(std::str::from_utf8(rest).ok()?.into()),
        b'w' => MqttPart::Will(*rest.first().filter(|_| rest.len() == 1)?),
        b'q' => MqttPart::Queued(Position::new(u64::from_be_bytes(rest.try_into().ok()?))),
        b'n' if rest.is_empty() => MqttPart::QueueSize,
        _ => return None,
    })
}

/// The first byte of the keys of sessions that are due: their wills, or their ends.
pub const MQTT_DUE: u8 = b'T';
/// The first byte of the keys of sessions of which rows are left.
pub const MQTT_LEFT: u8 = b'G';

/// The row that says when something of a session is due.
pub fn mqtt_due(at: Timestamp, id: MqttSessionId) -> Vec<u8> {
    numbered_due(MQTT_DUE, at, id)
}

/// The row that says that rows of a session are left which was forgotten at a moment.
pub fn mqtt_left(at: Timestamp, id: MqttSessionId) -> Vec<u8> {
    numbered_due(MQTT_LEFT, at, id)
}

fn numbered_due(kind: u8, at: Timestamp, id: MqttSessionId) -> Vec<u8> {
    let mut key = due(kind, at);
    key.extend_from_slice(&id.0.to_be_bytes());
    key
}

/// The moment in the key of either, and the session.
pub fn of_mqtt_due(key: &[u8]) -> Option<(Timestamp, MqttSessionId)> {
    let (at, id) = key.get(1..)?.split_first_chunk::<8>()?;
    let id = MqttSessionId(u64::from_be_bytes(id.try_into().ok()?));
    Some((Timestamp::from_millis(u64::from_be_bytes(*at)), id))
}

/// An event that the tail has lost and that sessions still need. The key has the form of that of an event.
pub fn kept_event(tenant: &TenantName, position: Position) -> Vec<u8> {
    let mut key = of_tenant(b'K', tenant, 8);
    key.extend_from_slice(&position.get().to_be_bytes());
    key
}

/// Whether a key is that of such an event.
pub fn is_kept_event(key: &[u8]) -> bool {
    key.first() == Some(&b'K')
}

/// The range of such events of all tenants.
pub fn kept_events_of_all() -> (Vec<u8>, Vec<u8>) {
    (b"K".to_vec(), b"L".to_vec())
}

/// By how many sessions such an event is needed.
pub fn keepers(tenant: &TenantName, position: Position) -> Vec<u8> {
    let mut key = of_tenant(b'C', tenant, 8);
    key.extend_from_slice(&position.get().to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::keys::take_name;

    #[test]
    fn sessions_of_different_names_have_different_keys() {
        let key = |username: &str, client_id: &str| MqttSessionKey {
            username: Username::parse(username).unwrap(),
            client_id: client_id.into(),
        };
        assert_ne!(mqtt_session_name(&key("a", "bc")), mqtt_session_name(&key("ab", "c")));
        assert!(take_name(&mqtt_session_name(&key("a", "bc"))[1..]).is_some_and(|(_, rest)| rest == b"bc"));
    }

    #[test]
    fn the_key_of_each_part_says_what_it_is_of_and_nothing_else_is_taken_for_one() {
        let (id, packet) = (MqttSessionId(u64::MAX), NonZeroU16::MAX);
        for part in [
            MqttPart::Outgoing(packet),
            MqttPart::Unreleased(packet),
            MqttPart::ExactPosition,
            MqttPart::Subscription("a/+".into()),
            MqttPart::Will(255),
            MqttPart::Queued(Position::END),
            MqttPart::QueueSize,
        ] {
            let key = mqtt_part(id, &part);
            assert!(key.starts_with(&mqtt_parts(id)));
            assert_eq!(of_mqtt_part(&key), Some(part.clone()));
            if !matches!(part, MqttPart::Subscription(_)) {
                assert_eq!(of_mqtt_part(&[&key[..], b"?"].concat()), None, "{part:?}");
            }
        }
        assert_eq!(of_mqtt_part(&mqtt_parts(id)), None);
        assert_eq!(of_mqtt_part(&[&mqtt_parts(id)[..], b"o\0\0"].concat()), None);
    }
}
