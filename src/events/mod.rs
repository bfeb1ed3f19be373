//! Events on their way: from an insert to everybody who listens.
//!
//! [`Insert`] is the change that the writer decides; [`Hub`] takes what it committed to the listeners; a
//! [`Subscription`] is one listener, which is nothing but a position in the order of all events.

mod channel;
mod control;
mod filters;
mod frame;
mod gate;
mod hub;
mod index;
mod insert;
mod latest;
mod lock;
mod mailbox;
mod maintenance;
mod pending_presence;
mod permits;
mod presence;
mod rate;
mod reading;
mod sink;
mod subscribe_request;
mod subscription;
mod tenant_subscriptions;
mod user_streams;
mod weak_list;
mod wheel;
mod worker;

pub use control::Reset;
pub use frame::Frame;
pub use hub::{Hub, PresenceGuard, Rules};
pub use insert::{Condition, IdempotencyKey, Insert, Inserted, Lifetime, MAX_EVENTS_AT_ONCE, NewEvent};
pub use maintenance::{Retention, keep_up};
pub use presence::{GRACE, GoesOnFor, Person};
pub use rate::Rates;
pub use sink::{Framing, Sink, Written};
pub use subscribe_request::{Start, SubscribeRequest};
pub use subscription::{CatchUp, HEARTBEAT, HEARTBEAT_EVERY, Subscription};
pub use user_streams::{StreamId, UserStreams};
pub use worker::WorkerHandle;

#[cfg(test)]
mod tests;
