//! The tokens of channels.

use super::numbers::Decoded;
use crate::domain::{ChannelToken, EventName, TenantName, Timestamp};

/// The serial (8 bytes), the moment of the last use (8), the length of the tenant (2), the tenant, the channel.
pub fn encode_channel_token(token: &ChannelToken) -> Vec<u8> {
    let (tenant, channel) = (token.tenant.as_str().as_bytes(), token.channel.as_str().as_bytes());
    let numbers = [token.serial, token.used_at.as_millis()].map(u64::to_be_bytes);
    [numbers.as_flattened(), &(tenant.len() as u16).to_be_bytes(), tenant, channel].concat()
}

pub fn decode_channel_token(value: &[u8]) -> Decoded<ChannelToken> {
    const WRONG: &str = "a channel's token is not what was written";
    let (serial, rest) = value.split_first_chunk::<8>().ok_or(WRONG)?;
    let (used_at, rest) = rest.split_first_chunk::<8>().ok_or(WRONG)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(WRONG)?;
    let (tenant, channel) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(WRONG)?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| WRONG);
    Ok(ChannelToken {
        tenant: TenantName::parse(text(tenant)?).map_err(|_| WRONG)?,
        channel: EventName::parse(text(channel)?).map_err(|_| WRONG)?,
        serial: u64::from_be_bytes(*serial),
        used_at: Timestamp::from_millis(u64::from_be_bytes(*used_at)),
    })
}
