//! Engine.IO 4 and Socket.IO 5, as the clients of socket.io-client 3 and 4 speak them, for any application.
//!
//! An [`Application`] admits sockets to namespaces, takes their events and answers them. [`SocketIo`] keeps the sessions: long polling,
//! WebSocket, the upgrade from one to the other, heartbeats, acknowledgements, binary attachments. It knows nothing of HTTP but the
//! few facts in a [`Request`], and nothing of Broker.
//!
//! A *session* is a connection of Engine.IO, by whatever transport. A *socket* is a session's membership in a namespace. Rooms belong
//! to the application.
//!
//! Protocols: <https://github.com/socketio/engine.io-protocol>, <https://github.com/socketio/socket.io-protocol>.

mod application;
mod assembler;
mod attachments;
mod engine;
mod engine_packet;
mod inbox;
mod line;
mod lock;
mod malformed;
mod members;
mod outbox;
mod outlet;
mod packet;
mod polling;
#[cfg(test)]
pub mod properties;
mod refusal;
mod session;
mod sessions;
mod settings;
mod shares;
mod sid;
mod socket;
mod types;
mod websocket;

pub use application::{Admission, Application, Connect, ConnectError, Event, Recovery, Work};
pub use engine::{Call, Method, Request, SocketIo};
pub use engine_packet::SEPARATOR;
pub use line::Written;
pub use members::Answer;
pub use outlet::{Outlet, PollingOutlet};
pub use packet::{Json, RESERVED, write_event};
pub use polling::{LastPoll, PollCall, PostCall};
pub use refusal::Refusal;
pub use session::MAX_IN_FLIGHT;
pub use settings::Settings;
pub use socket::{Ack, Socket};
pub use types::Types;
pub use websocket::WebSocketCall;

#[cfg(test)]
mod tests;
