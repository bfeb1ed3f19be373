//! What a commit does to those who are connected, as the head of its record has it: fields, each with a number for what it is and its
//! length. Whoever reads one that it does not know must not go on: it would leave out what was decided.

use super::numbers::Decoded;
use crate::domain::{MqttSessionId, Position, TenantName, Username};
use crate::store::mqtt_cursors::{CursorChange, CursorState};
use crate::store::tidings::Tidings;

const ENDED: u8 = 1;
const CHANGED: u8 = 2;
const CURSORS: u8 = 3;
const FOUND_AGAIN: u8 = 4;

const DONE_UP_TO: u8 = 1;
const NOT_DONE: u8 = 2;
const AWAY: u8 = 3;
const FORGOTTEN: u8 = 4;

const WRONG: &str = "what it says of those who are connected is cut short";

const LATER: &str = "it says something that a later Broker knows";

/// The head of a field: its number and its length.
const FIELD_BYTES: usize = 1 + 4;
/// The bytes that all fields have in addition to what is in them.
pub const TIDINGS_BYTES: usize = 4 * FIELD_BYTES;
/// The bytes that a name has in addition to its own.
pub const NAME_HEAD_BYTES: usize = 2;
/// The bytes that a change of a cursor has in addition to the name of its tenant.
pub const CURSOR_BYTES: usize = NAME_HEAD_BYTES + 8 + 1 + 8;
/// The bytes of a session that was found again.
pub const FOUND_BYTES: usize = 8;

/// Those that say something.
pub fn encode_tidings(tidings: &Tidings) -> Vec<u8> {
    let Tidings { ended, changed, cursors, found_again } = tidings;
    let mut bytes = Vec::new();
    for (field, names) in [(ENDED, ended), (CHANGED, changed)] {
        put_field(&mut bytes, field, names.is_empty(), |bytes| {
            names.iter().for_each(|name| put_name(bytes, name.as_str()));
        });
    }
    put_field(&mut bytes, CURSORS, cursors.is_empty(), |bytes| {
        for CursorChange { tenant, id, now } in cursors {
            put_name(bytes, tenant.as_str());
            bytes.extend_from_slice(&id.0.to_be_bytes());
            let (state, number) = match now {
                CursorState::DoneUpTo(position) => (DONE_UP_TO, position.get()),
                CursorState::NotDone(position) => (NOT_DONE, position.get()),
                CursorState::Away(is_away) => (AWAY, u64::from(*is_away)),
                CursorState::Forgotten => (FORGOTTEN, 0),
            };
            bytes.push(state);
            bytes.extend_from_slice(&number.to_be_bytes());
        }
    });
    put_field(&mut bytes, FOUND_AGAIN, found_again.is_empty(), |bytes| {
        found_again.iter().for_each(|id| bytes.extend_from_slice(&id.0.to_be_bytes()));
    });
    bytes
}

fn put_field(bytes: &mut Vec<u8>, field: u8, is_empty: bool, put: impl FnOnce(&mut Vec<u8>)) {
    if is_empty {
        return;
    }
    bytes.push(field);
    let at = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    put(bytes);
    let length = (bytes.len() - at - 4) as u32;
    bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// A name has at most 256 bytes, and that of a guest twice as many.
fn put_name(bytes: &mut Vec<u8>, name: &str) {
    bytes.extend_from_slice(&(name.len() as u16).to_be_bytes());
    bytes.extend_from_slice(name.as_bytes());
}

pub fn decode_tidings(mut bytes: &[u8]) -> Decoded<Tidings> {
    let mut tidings = Tidings::default();
    while let Some((field, rest)) = bytes.split_first() {
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(WRONG)?;
        let (mut content, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(WRONG)?;
        bytes = rest;
        if !(ENDED..=FOUND_AGAIN).contains(field) {
            return Err(LATER);
        }
        while !content.is_empty() {
            match *field {
                ENDED => tidings.ended.push(take_user(&mut content)?),
                CHANGED => tidings.changed.push(take_user(&mut content)?),
                CURSORS => tidings.cursors.push(take_cursor(&mut content)?),
                FOUND_AGAIN => tidings.found_again.push(MqttSessionId(take_number(&mut content)?)),
                _ => return Err(LATER),
            }
        }
    }
    Ok(tidings)
}

fn take_name<'a>(bytes: &mut &'a [u8]) -> Decoded<&'a str> {
    let (length, rest) = bytes.split_first_chunk::<2>().ok_or(WRONG)?;
    let (name, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(WRONG)?;
    *bytes = rest;
    std::str::from_utf8(name).map_err(|_| "a name is not UTF-8")
}

fn take_user(bytes: &mut &[u8]) -> Decoded<Username> {
    Username::from_stored(take_name(bytes)?).map_err(|_| "a username is none")
}

fn take_number(bytes: &mut &[u8]) -> Decoded<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>().ok_or(WRONG)?;
    *bytes = rest;
    Ok(u64::from_be_bytes(*number))
}

fn take_cursor(bytes: &mut &[u8]) -> Decoded<CursorChange> {
    let tenant = TenantName::parse(take_name(bytes)?).map_err(|_| "a tenant's name is none")?;
    let id = MqttSessionId(take_number(bytes)?);
    let (state, rest) = bytes.split_first().ok_or(WRONG)?;
    *bytes = rest;
    let number = take_number(bytes)?;
    let now = match (*state, number) {
        (DONE_UP_TO, position) => CursorState::DoneUpTo(Position::new(position)),
        (NOT_DONE, position) => CursorState::NotDone(Position::new(position)),
        (AWAY, is_away @ (0 | 1)) => CursorState::Away(is_away == 1),
        (FORGOTTEN, 0) => CursorState::Forgotten,
        _ => return Err("what it says of a session of MQTT is nothing"),
    };
    Ok(CursorChange { tenant, id, now })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn users() -> impl Strategy<Value = Vec<Username>> {
        proptest::collection::vec("[a-z]{1,9}", 0..4)
            .prop_map(|names| names.iter().map(|name| Username::parse(name).unwrap()).collect())
    }

    fn cursor() -> impl Strategy<Value = CursorChange> {
        let state = prop_oneof![
            any::<u64>().prop_map(|position| CursorState::DoneUpTo(Position::new(position))),
            any::<u64>().prop_map(|position| CursorState::NotDone(Position::new(position))),
            any::<bool>().prop_map(CursorState::Away),
            Just(CursorState::Forgotten),
        ];
        ("[a-z]{1,9}", any::<u64>(), state).prop_map(|(tenant, id, now)| CursorChange {
            tenant: TenantName::parse(&tenant).unwrap(),
            id: MqttSessionId(id),
            now,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            ended in users(),
            changed in users(),
            cursors in proptest::collection::vec(cursor(), 0..4),
            found_again: Vec<u64>,
        ) {
            let found_again = found_again.into_iter().map(MqttSessionId).collect();
            let tidings = Tidings { ended, changed, cursors, found_again };
            let bytes = encode_tidings(&tidings);
            let names = |users: &[Username]| users.iter().map(|user| NAME_HEAD_BYTES + user.as_str().len()).sum::<usize>();
            let of_cursors = tidings.cursors.iter().map(|change| CURSOR_BYTES + change.tenant.as_str().len());
            let at_most = TIDINGS_BYTES
                + names(&tidings.ended)
                + names(&tidings.changed)
                + of_cursors.sum::<usize>()
                + FOUND_BYTES * tidings.found_again.len();
            prop_assert!(bytes.len() <= at_most, "the room that is set aside for it is too small");
            prop_assert_eq!(decode_tidings(&bytes), Ok(tidings));
            // Nothing that is cut short is taken for less.
            for length in 1..bytes.len() {
                prop_assert!(decode_tidings(&bytes[..length]).is_ok_and(|read| encode_tidings(&read).len() == length)
                    || decode_tidings(&bytes[..length]).is_err());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = decode_tidings(&bytes);
        }
    }

    #[test]
    fn what_a_later_broker_says_is_not_passed_over() {
        assert!(decode_tidings(&[9, 0, 0, 0, 1, 7]).is_err());
        assert!(decode_tidings(&[9, 0, 0, 0, 0]).is_err());
    }
}
