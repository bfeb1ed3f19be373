//! Keys of the tokens of channels.

use super::due;
use crate::domain::{ChannelTokenId, Timestamp};

/// The token of a channel.
pub fn channel_token(id: &ChannelTokenId) -> Vec<u8> {
    [b"o", &id[..]].concat()
}

/// The first byte of the keys of tokens of channels that may be forgotten.
pub const CHANNEL_TOKEN_DUE: u8 = b'r';

/// The row that says when the token of a channel may be forgotten.
pub fn channel_token_due(at: Timestamp, id: &ChannelTokenId) -> Vec<u8> {
    let mut key = due(CHANNEL_TOKEN_DUE, at);
    key.extend_from_slice(id);
    key
}

/// The moment in such a key, and the id.
pub fn of_channel_token_due(key: &[u8]) -> Option<(Timestamp, ChannelTokenId)> {
    let (at, id) = key.get(1..)?.split_first_chunk::<8>()?;
    Some((Timestamp::from_millis(u64::from_be_bytes(*at)), id.try_into().ok()?))
}
