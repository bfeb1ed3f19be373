//! What an application is, to the protocol.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::outlet::Outlet;
use super::packet::Json;
use super::socket::{Ack, Socket};
use super::types::Types;

/// Work that an event causes. It runs on the thread that took the event, and is dropped when the session ends. It may outlast the post
/// that brought the event: the answer to a question comes with another post.
pub struct Work {
    pub(super) future: Pin<Box<dyn Future<Output = ()>>>,
    pub(super) weight: usize,
}

impl Work {
    /// Work that counts as one.
    pub fn new(future: impl Future<Output = ()> + 'static) -> Self {
        Self::weighing(1, future)
    }

    /// Work that counts as so many, because its answer is large.
    pub fn weighing(weight: usize, future: impl Future<Output = ()> + 'static) -> Self {
        Self { future: Box::pin(future), weight }
    }
}

/// What serves the sockets: a cheap clone on each thread that takes requests.
///
/// A client's packets come one after another, but on any of these threads: what is kept of a socket goes from one to another.
pub trait Application: Types + Clone {
    /// Decides whether a client may join a namespace. Nothing else of the client's is taken before that.
    fn connect(&self, connect: Connect<'_, Self>)
    -> impl Future<Output = Result<Admission<Self::State>, ConnectError>>;

    /// Greets a socket that has joined: its client has been told so, and what is emitted here comes next.
    fn connected(&self, _socket: &Socket<Self>) {}

    /// Takes an event of a socket. What cannot be done at once is returned as work. Of each session,
    /// [`MAX_IN_FLIGHT`](super::MAX_IN_FLIGHT) may be under way, then nothing more is read from it.
    fn event(&self, socket: &Socket<Self>, event: Event<Self>) -> Option<Work>;

    /// Writes an event stream to a socket that has called [`Socket::attach`], for as long as the future runs.
    ///
    /// It begins on the thread that took the event, with [`Outlet::Polling`]. If the session upgrades, that outlet goes on taking what is
    /// written, and the future may end when it likes: see [`Socket::has_upgraded`]. Then another one begins on the thread of the
    /// WebSocket, with [`Outlet::WebSocket`]: it has to go on where the first one stopped. On a session that began with a WebSocket,
    /// there is one only. When the session ends, or the socket leaves, the future is dropped.
    fn stream(&self, socket: Socket<Self>, outlet: Outlet<Self>) -> impl Future<Output = ()> + 'static;
}

/// A client that wants to join a namespace.
pub struct Connect<'a, T: Types> {
    /// The namespace; `/` is the main one.
    pub namespace: &'a str,
    /// What the client says of itself: the option `auth` of socket.io-client.
    pub auth: Map<String, Value>,
    /// The request that opened the session.
    pub peer: &'a T::Peer,
}

impl<T: Types> Connect<'_, T> {
    /// What the client asks to be recovered by, if it was connected before.
    pub fn recovery(&self) -> Option<Recovery<'_>> {
        let text = |name: &str| self.auth.get(name).and_then(Value::as_str);
        text("pid").map(|pid| Recovery { pid, offset: text("offset") })
    }
}

/// What a client has kept of an earlier connection (connection state recovery, since Socket.IO 4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery<'a> {
    /// The `pid` of the [`Admission`] then.
    pub pid: &'a str,
    /// The last argument of the last event that the client got, if that was a text: the offset of the event, unless the application
    /// emits others. `None` if it got none.
    pub offset: Option<&'a str>,
}

/// A socket that may join.
pub struct Admission<S> {
    /// What the application keeps of it.
    pub state: S,
    /// `Some` to offer recovery: every event then carries its offset, a text, as its last argument. A client that asked for recovery has
    /// been recovered if this is the `pid` that it asked for. If it lets a client in, it must not be guessable.
    pub pid: Option<String>,
    /// The id of the socket, which others may know. `None` for a new one: only a socket that is recovered has one.
    pub sid: Option<String>,
}

impl<S> Admission<S> {
    /// A new socket without recovery.
    pub fn new(state: S) -> Self {
        Self { state, pid: None, sid: None }
    }
}

/// Why a client may not join: the error of `connect_error`.
#[derive(Debug)]
pub struct ConnectError {
    /// The message of the error.
    pub message: String,
    /// The `data` of the error.
    pub data: Option<Json>,
}

impl ConnectError {
    /// An error without data.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), data: None }
    }

    /// The namespace is none of the application's.
    pub fn invalid_namespace() -> Self {
        Self::new("Invalid namespace")
    }
}

/// An event of a client's.
pub struct Event<T: Types> {
    /// What it is called.
    pub name: String,
    /// Its arguments. Where one is or has a binary value, there is a placeholder `{"_placeholder":true,"num":0}`.
    pub args: Vec<Json>,
    /// The binary values, by the numbers in the placeholders.
    pub attachments: Vec<Bytes>,
    /// Answers it, if the client wants an answer.
    pub ack: Option<Ack<T>>,
}
