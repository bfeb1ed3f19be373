//! One stream: its position in the order of all events, how it catches up, and how it changes its view.

mod catch_up;
mod reads;
mod start;
mod state;
mod steps;
mod view_switch;

pub use catch_up::CatchUp;
pub use state::{HEARTBEAT_EVERY, Subscription};
