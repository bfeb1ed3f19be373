//! Keys of what belongs to accounts: deleted users, and invites.

use super::{due, put_name, take_name};
use crate::domain::{InviteId, Timestamp, Username};

/// What is being erased of a deleted user.
pub fn erasure(username: &Username) -> Vec<u8> {
    [ERASURES, username.as_str().as_bytes()].concat()
}

/// The prefix of all erasures.
pub const ERASURES: &[u8] = b"E";

/// The name of a deleted user that nobody gets for a while.
pub fn quarantine(username: &Username) -> Vec<u8> {
    [b"Q", username.as_str().as_bytes()].concat()
}

/// The first byte of the keys of names that may be given again.
pub const QUARANTINE_DUE: u8 = b'R';

/// The row that says when a name may be given again.
pub fn quarantine_due(at: Timestamp, username: &Username) -> Vec<u8> {
    let mut key = due(QUARANTINE_DUE, at);
    key.extend_from_slice(username.as_str().as_bytes());
    key
}

/// The moment in such a key, and the name.
pub fn of_quarantine_due(key: &[u8]) -> Option<(Timestamp, Username)> {
    let (at, name) = key.get(1..)?.split_first_chunk::<8>()?;
    let username = Username::parse(std::str::from_utf8(name).ok()?).ok()?;
    Some((Timestamp::from_millis(u64::from_be_bytes(*at)), username))
}

/// An invite.
pub fn invite(id: &InviteId) -> Vec<u8> {
    [b"I", &id[..]].concat()
}

/// The first byte of the keys of invites that end.
pub const INVITE_DUE: u8 = b'J';

/// The row that says when an invite ends.
pub fn invite_due(at: Timestamp, id: &InviteId) -> Vec<u8> {
    let mut key = due(INVITE_DUE, at);
    key.extend_from_slice(id);
    key
}

/// The id in such a key.
pub fn of_invite_due(key: &[u8]) -> Option<InviteId> {
    key.get(9..)?.try_into().ok()
}

/// The id of an invite in the row of whoever made it.
pub fn of_invite_made_by(key: &[u8]) -> Option<InviteId> {
    take_name(key.get(1..)?)?.1.try_into().ok()
}

/// The prefix of the invites that a user made.
pub fn invites_made_by(username: &Username) -> Vec<u8> {
    let mut key = vec![b'M'];
    put_name(&mut key, username.as_str());
    key
}

pub fn invite_made_by(username: &Username, id: &InviteId) -> Vec<u8> {
    let mut key = invites_made_by(username);
    key.extend_from_slice(id);
    key
}

/// The number of invites of a user.
pub fn invites_of(username: &Username) -> Vec<u8> {
    [b"N", username.as_str().as_bytes()].concat()
}
