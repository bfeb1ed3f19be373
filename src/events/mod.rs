//! Events on their way: from an insert to everybody who listens.
//!
//! [`Insert`] is the change that the writer decides; [`Hub`] takes what it committed to the listeners; a
//! [`Subscription`] is one listener, which is nothing but a position in the order of all events.

mod channel;
mod filters;
mod frame;
mod gate;
mod hub;
mod index;
mod insert;
mod latest;
mod mark;
mod opening;
mod outlet;
mod presence;
mod rate;
mod reading;
mod relay;
mod room;
mod session;
mod subscription;
mod turns;
mod untold;
mod upkeep;
mod weak_list;
mod wheel;

pub use frame::Frame;
pub use hub::{Arrival, Hub, Rules};
pub use insert::{Condition, IdempotencyKey, Insert, Inserted, Lasts, MAX_EVENTS_AT_ONCE, NewEvent};
pub use mark::Reset;
pub use opening::{Opening, Start};
pub use outlet::{Framing, Outlet, Written};
pub use presence::{GRACE, GoesOnFor, Person};
pub use rate::Rates;
pub use relay::Relay;
pub use session::{Session, StreamId};
pub use subscription::{CatchUp, HEARTBEAT, HEARTBEAT_EVERY, Subscription};
pub use upkeep::{Retention, keep_up};

#[cfg(test)]
mod tests;
