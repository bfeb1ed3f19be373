//! Keys of sessions.

use super::due;
use crate::domain::{SessionId, Timestamp, Username};

/// A session.
pub fn session(id: SessionId) -> Vec<u8> {
    [b"y", &id.get().to_be_bytes()[..]].concat()
}

/// The sessions of a user.
pub fn sessions_of(username: &Username) -> Vec<u8> {
    [b"m", username.as_str().as_bytes()].concat()
}

/// The first byte of the keys of sessions that may have expired.
pub const SESSION_DUE: u8 = b'z';

/// The row that says when a session may have expired.
pub fn session_due(at: Timestamp, id: SessionId) -> Vec<u8> {
    let mut key = due(SESSION_DUE, at);
    key.extend_from_slice(&id.get().to_be_bytes());
    key
}

/// The moment in such a key, and the session.
pub fn of_session_due(key: &[u8]) -> Option<(Timestamp, SessionId)> {
    let (at, id) = key.get(1..)?.split_first_chunk::<8>()?;
    let id = SessionId::new(u64::from_be_bytes(id.try_into().ok()?))?;
    Some((Timestamp::from_millis(u64::from_be_bytes(*at)), id))
}
