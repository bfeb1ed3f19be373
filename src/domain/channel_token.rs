use super::{EventName, TenantName, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a token lasts after it was last used, in milliseconds: 7 days.
const KEPT_MILLIS: u64 = 7 * 24 * 60 * 60 * 1000;

/// By what the token of a channel is found. It cannot be made from the channel's name without the key.
pub type ChannelTokenId = [u8; 16];

/// A channel's token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelToken {
    /// The tenant that the channel is in.
    pub tenant: TenantName,
    /// The channel.
    pub channel: EventName,
    /// Tells it from earlier tokens of the channel.
    pub serial: u64,
    /// When it was issued or last used.
    pub used_at: Timestamp,
}

impl ChannelToken {
    /// When it ends, unless it is used before.
    pub fn expires_at(&self) -> Timestamp {
        Timestamp::from_millis(self.used_at.as_millis().saturating_add(KEPT_MILLIS))
    }
}
