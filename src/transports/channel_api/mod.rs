//! What clients of ChannelAPI speak over Socket.IO: they join channels by tokens, and are sent the messages of these. A channel is an
//! event name of the tenant in `channel_tenant`, and its messages are events of that name.

mod application;
mod client;
mod format;

pub use application::ChannelApi;
pub use client::Client;
