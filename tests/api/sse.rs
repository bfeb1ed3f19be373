//! Guards `/sse`: the bytes on the wire, what a subscriber gets, and when a stream ends.

mod closed;

pub mod control_events;
mod ended;
pub mod envelope;
mod filters;
mod frame;
mod frames;
pub mod opening;
pub mod pipelined;
mod resets;
mod resume;
mod slow;
mod snapshot;
mod stream_ids;
mod streams_per_user;
mod transient;
