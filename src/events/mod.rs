//! Events on their way: from an insert to every stream.
//!
//! [`Insert`] is the change that the writer decides. [`Hub`] takes what the writer committed to the workers. A [`Subscription`] is one
//! stream: a position in the order of all events. A [`Format`] and a [`Sink`], which the transport brings, turn events into bytes and
//! take those to the client.

mod changes;
mod channel;
mod control;
mod drain;
mod ending;
mod filters;
mod format;
mod gate;
mod hub;
mod import;
mod index;
mod insert;
mod latest;
mod lock;
mod mailbox;
mod maintenance;
mod mqtt_sessions;
mod new_event;
mod pending_presence;
mod permits;
mod reading;
mod registry;
mod shared_event;
mod sink;
mod small_map;
mod stream_id;
mod subscribe_request;
mod subscriber;
mod subscription;
mod survey;
mod tenant_subscriptions;
mod topic_index;
mod weak_map;
mod wheel;
mod worker;
mod worker_handle;
mod worker_streams;

pub(crate) use changes::FORMS;
pub use control::{ControlEvent, Reset};
pub use ending::{End, Ending};
pub use format::{Content, EventParts, Format, FormatKey, JOINED_BYTES};
pub use hub::{Changing, Held, Hub, Rules};
pub use import::ImportedEvent;
pub use insert::{Condition, IdempotencyKey, Insert, Inserted, MAX_BYTES_AT_ONCE, MAX_EVENTS_AT_ONCE};
pub use maintenance::{Retention, keep_up};
pub use mqtt_sessions::{
    BeginMqttSession, BegunMqttSession, ChangeMqttSession, MqttSessionBefore, MqttSessionChange, WillFate,
};
pub use new_event::{Lifetime, NewEvent};
pub use registry::{Crowd, GRACE, GoesOnFor, Lease, Person, PresenceGuard, Registry, UserStreams};
pub use sink::{Asked, Sink, Written};
pub use stream_id::StreamId;
pub use subscribe_request::{First, HandOver, Start, StreamOptions, SubscribeRequest};
pub use subscription::{CatchUp, HEARTBEAT_EVERY, Subscription};
pub use survey::{SlowReader, Survey};
pub use worker_handle::WorkerHandle;

#[cfg(test)]
mod tests;
