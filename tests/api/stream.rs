//! `/sse`: what stands on the wire, what a subscriber gets, and when a stream ends.

mod closed;
mod ended;
mod frame;
mod opening;
pub mod pipelined;
pub mod raw;
mod resume;
mod slow;
mod snapshot;
