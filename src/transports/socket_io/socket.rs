//! A client in a namespace, as the application has it.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::line::End;
use super::members::{Answer, Member};
use super::outbox::Frame;
use super::packet::{Json, Writer};
use super::session::Session;
use super::types::Types;

/// A socket: a session's membership in a namespace. A cheap clone, for any thread; it derefs to what the application keeps of it.
///
/// What is sent to a socket that has left, or whose session has ended, goes nowhere.
pub struct Socket<T: Types> {
    session: Arc<Session<T>>,
    member: Arc<Member<T>>,
}

impl<T: Types> Clone for Socket<T> {
    fn clone(&self) -> Self {
        Self { session: Arc::clone(&self.session), member: Arc::clone(&self.member) }
    }
}

impl<T: Types> Deref for Socket<T> {
    type Target = T::State;

    fn deref(&self) -> &T::State {
        &self.member.state
    }
}

impl<T: Types> Socket<T> {
    pub(super) fn new(session: &Arc<Session<T>>, member: Arc<Member<T>>) -> Self {
        Self { session: Arc::clone(session), member }
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.member.namespace
    }

    /// What others may know it by: no secret, unlike the id of its session.
    pub fn id(&self) -> &str {
        &self.member.id
    }

    /// The request that opened its session.
    pub fn peer(&self) -> &T::Peer {
        &self.session.peer
    }

    /// Emits an event. Where an argument is or has a binary value, a placeholder `{"_placeholder":true,"num":0}` stands for the
    /// attachment of that number. Returns whether the socket is still there.
    pub fn emit(&self, name: &str, args: &[Json], attachments: &[Bytes]) -> bool {
        self.session.send(&self.member, || self.event(None, name, args, attachments))
    }

    /// Emits an event that the client has to answer. Returns what becomes the answer, and fails if the socket leaves before; `None` if it
    /// has left already. The client may never answer: the answers to the last 64 questions are waited for.
    pub fn ask(&self, name: &str, args: &[Json], attachments: &[Bytes]) -> Option<oneshot::Receiver<Answer>> {
        self.session.ask(&self.member, |id| self.event(Some(id), name, args, attachments))
    }

    fn event(&self, id: Option<u64>, name: &str, args: &[Json], attachments: &[Bytes]) -> Vec<Frame> {
        let namespace = &self.member.namespace;
        // The client would take the text for the offset of an event in the stream, and ask to be recovered by it (socket.io#5539).
        let is_text = |json: &Json| json.get().starts_with('"');
        let text = if self.member.keeps_offset && args.last().is_some_and(is_text) {
            let args: Vec<Json> = args.iter().cloned().chain([RawValue::NULL.to_owned()]).collect();
            Writer::event(namespace, id, name, &args, attachments.len())
        } else {
            Writer::event(namespace, id, name, args, attachments.len())
        };
        frames(text, attachments)
    }

    /// Wants an event stream: [`Application::stream`](super::Application::stream) is called when the event that is being taken has been.
    /// Returns whether it may have one: a session has one at most, whatever its namespaces.
    pub fn attach(&self) -> bool {
        self.session.want_stream(&self.member)
    }

    /// Whether its session speaks through a WebSocket, and everything that was written to [`Outlet::Polling`](super::Outlet) before has
    /// been passed on.
    pub fn has_upgraded(&self) -> bool {
        self.session.line(|line| line.is_websocket() && !line.has_chunk())
    }

    /// Makes it leave its namespace. The client is told, and does not come back by itself.
    pub fn disconnect(&self) {
        self.session.expel(&self.member);
    }

    /// Ends its session, after what was sent if a poll waits. The client connects anew. A socket that has left its namespace does nothing:
    /// the session is that of others, or of the client's next socket.
    pub fn close(&self) {
        if !self.is_gone() {
            self.session.close(End::ServerClosed);
        }
    }

    /// Whether it has left, or its session has ended.
    pub fn is_gone(&self) -> bool {
        !self.session.send(&self.member, Vec::new)
    }
}

/// The answer that a client waits for. Dropped without being sent, it leaves the client waiting.
pub struct Ack<T: Types> {
    socket: Socket<T>,
    id: u64,
}

impl<T: Types> Ack<T> {
    pub(super) fn new(socket: Socket<T>, id: u64) -> Self {
        Self { socket, id }
    }

    /// Answers, with arguments as in [`Socket::emit`]. Returns whether the socket is still there.
    pub fn send(self, args: &[Json], attachments: &[Bytes]) -> bool {
        let Socket { session, member } = &self.socket;
        session.send(member, || frames(Writer::ack(&member.namespace, self.id, args, attachments.len()), attachments))
    }
}

/// A packet and its attachments.
fn frames(text: String, attachments: &[Bytes]) -> Vec<Frame> {
    std::iter::once(Frame::text(text)).chain(attachments.iter().cloned().map(Frame::Binary)).collect()
}
