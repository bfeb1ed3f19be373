//! Sessions with a WebSocket, from their beginning or after an upgrade.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use futures_util::future::OptionFuture;

use super::application::Application;
use super::engine_packet::{EnginePacket, PROBE, PROBED, SEPARATOR};
use super::inbox::Inbox;
use super::line::End;
use super::members::Member;
use super::outbox::Frame;
use super::outlet::Outlet;
use super::session::{MAX_UNADMITTED_BYTES, Session};
use super::sessions::Sessions;
use super::socket::Socket;
use super::types::Types;
use crate::transports::ws::{self, Inlet, Message, Opcode, Serial, code};

/// A WebSocket whose handshake is to be answered.
pub struct WebSocketCall<A: Application> {
    sessions: Arc<Sessions<A>>,
    session: Which<A>,
}

/// The session of a WebSocket.
enum Which<A: Application> {
    /// A new one.
    New(A::Peer, A::Client),
    /// This one, which is to be upgraded.
    Upgrade(Arc<Session<A>>),
}

impl<A: Application> WebSocketCall<A> {
    pub(super) fn open(sessions: &Arc<Sessions<A>>, peer: A::Peer, client: A::Client) -> Self {
        Self { sessions: Arc::clone(sessions), session: Which::New(peer, client) }
    }

    pub(super) fn upgrade(sessions: &Arc<Sessions<A>>, session: Arc<Session<A>>) -> Self {
        Self { sessions: Arc::clone(sessions), session: Which::Upgrade(session) }
    }

    /// Maximum length of the first messages, in bytes.
    pub fn max_bytes(&self) -> usize {
        match &self.session {
            Which::New(..) => self.sessions.settings.max_payload.min(MAX_UNADMITTED_BYTES),
            Which::Upgrade(session) => session.max_payload(),
        }
    }

    /// Serves the connection until it ends. If this is dropped before, the session ends.
    pub fn run(self, app: A, inlet: Inlet, outlet: ws::Outlet) -> impl Future<Output = ()> {
        // In a box, so that it is small once there is a session: most connections say nothing for long.
        self.begin(app, inlet, outlet).boxed_local().map(OptionFuture::from).flatten().map(drop)
    }

    /// Opens the session or upgrades it; `None` if the connection was closed instead.
    async fn begin(self, app: A, mut inlet: Inlet, outlet: ws::Outlet) -> Option<Driver<A>> {
        let random = self.sessions.random;
        let session = match self.session {
            Which::New(peer, client) => {
                let session = self.sessions.open(true, peer, client);
                if session.is_none() {
                    outlet.close(code::TRY_AGAIN, "");
                }
                session?
            }
            Which::Upgrade(session) => {
                // Two may not try at once, and nothing is above a WebSocket.
                let within = self.sessions.settings.upgrade_timeout;
                let session = match Upgrade::begin(session) {
                    Some(upgrade) => tokio::time::timeout(within, upgrade.complete(&mut inlet, &outlet)).await,
                    None => Ok(None),
                };
                let session = session.ok().flatten();
                if session.is_none() {
                    outlet.close(code::POLICY, "");
                }
                session?
            }
        };
        let sessions = self.sessions;
        let inbox = Inbox::new(app, Arc::clone(&session), random);
        let mut driver = Driver { inbox, inlet, outlet, stream: None, _end: OnDrop { sessions, session } };
        driver.limit();
        // The session counts.
        driver.outlet.leave_uncounted();
        Some(driver)
    }
}

/// An upgrade under way. Dropped before it is complete, it leaves the session to long polling.
struct Upgrade<T: Types>(Arc<Session<T>>);

impl<T: Types> Upgrade<T> {
    fn begin(session: Arc<Session<T>>) -> Option<Self> {
        session.line(|line| line.begin_upgrade()).then_some(Self(session))
    }

    /// Waits for the client to try the connection, and then to upgrade. `None` if it does something else.
    async fn complete(self, inlet: &mut Inlet, outlet: &ws::Outlet) -> Option<Arc<Session<T>>> {
        let Self(session) = &self;
        let is_probe = |message: &Message| is_packet(message, &EnginePacket::Ping(PROBE));
        self.next(inlet).await.filter(is_probe)?;
        outlet.send_text(PROBED);
        session.line(|line| line.probe());
        self.next(inlet).await.filter(|message| is_packet(message, &EnginePacket::Upgrade))?;
        session.upgrade().then(|| Arc::clone(session))
    }

    /// The next message; `None` if there is none, or the session has ended.
    async fn next(&self, inlet: &mut Inlet) -> Option<Message> {
        poll_fn(|context| {
            if self.0.line(|line| line.poll_end(context)).is_ready() {
                return Poll::Ready(None);
            }
            inlet.poll_next(context)
        })
        .await
    }
}

impl<T: Types> Drop for Upgrade<T> {
    fn drop(&mut self) {
        self.0.line(|line| line.abort_upgrade());
    }
}

fn is_packet(message: &Message, packet: &EnginePacket<'_>) -> bool {
    matches!(message, Message::Text(text) if EnginePacket::parse(text).as_ref() == Some(packet))
}

/// Ends the session with its connection.
struct OnDrop<T: Types> {
    sessions: Arc<Sessions<T>>,
    session: Arc<Session<T>>,
}

impl<T: Types> Drop for OnDrop<T> {
    fn drop(&mut self) {
        self.session.close(End::Gone);
        self.sessions.forget(&self.session);
    }
}

/// What serves a connection.
struct Driver<A: Application> {
    inbox: Inbox<A>,
    inlet: Inlet,
    outlet: ws::Outlet,
    /// The event stream that is being written.
    stream: Option<Stream<A>>,
    // Last, so that everything above has gone when the session ends.
    _end: OnDrop<A>,
}

/// An event stream that is being written.
struct Stream<T: Types> {
    /// Whose it is.
    member: Arc<Member<T>>,
    /// What its outlet is known by.
    serial: Serial,
    writing: Pin<Box<dyn Future<Output = ()>>>,
}

// Nothing in it is pinned but what is in boxes.
impl<A: Application> Unpin for Driver<A> {}

/// Takes messages until the session has ended.
impl<A: Application> Future for Driver<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.inbox.is_taking() {
                ready!(self.inbox.poll_taken(context));
                self.limit();
            }
            let Some(message) = ready!(self.poll_message(context)) else { return Poll::Ready(()) };
            self.inbox.begin(match &message {
                Message::Text(text) => EnginePacket::parse(text),
                Message::Binary(bytes) => Some(EnginePacket::Binary(bytes.clone())),
            });
        }
    }
}

impl<A: Application> Driver<A> {
    /// Lets only a client that has joined a namespace send large messages.
    fn limit(&mut self) {
        self.inlet.set_max_message_bytes(self.inbox.session.max_payload());
    }

    /// Does everything else until the next message; `None` when the session has ended.
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        let _ = self.inbox.poll_work(context);
        if self.poll_send(context).is_ready() {
            self.close();
            return Poll::Ready(None);
        }
        // Last, since what was written for a poll comes first.
        self.poll_stream(context);
        ready!(self.inbox.poll_room(true, context));
        self.inlet.poll_next(context)
    }

    /// Sends what there is to say. Becomes ready when the session has ended and nothing is left to say.
    fn poll_send(&self, context: &mut Context<'_>) -> Poll<()> {
        let (session, sending) = (&self.inbox.session, self.outlet.stuck());
        loop {
            // The outlet's queue is small. What it has no room for waits in the session, where it counts.
            if !self.outlet.has_room() && self.outlet.poll_room(context).is_pending() {
                // A client that reads nothing is not waited for when its session has ended.
                return session.line(|line| line.poll_end_sending(sending, context));
            }
            match ready!(session.line(|line| line.poll_packet(sending, context))) {
                Some((frame, attachments)) => self.send(&frame, &attachments),
                None => return Poll::Ready(()),
            }
        }
    }

    /// Sends a packet as a whole: a client takes no other between it and its attachments.
    fn send(&self, frame: &Frame, attachments: &[Frame]) {
        let frames = std::iter::once(frame).chain(attachments);
        self.outlet.send_messages(frames.flat_map(|frame| {
            let (opcode, bytes, is_chunk) = match frame {
                Frame::Binary(bytes) => (Opcode::Binary, bytes, false),
                Frame::Text(packet) => (Opcode::Text, packet, false),
                // Of a stream that began before the upgrade.
                Frame::Chunk(packets) => (Opcode::Text, packets, true),
            };
            bytes.split(move |byte| is_chunk && char::from(*byte) == SEPARATOR).map(move |bytes| (opcode, bytes))
        }));
    }

    fn poll_stream(&mut self, context: &mut Context<'_>) {
        loop {
            let session = &self.inbox.session;
            let Some(stream) = &mut self.stream else {
                let Some(member) = session.begin_stream(true) else { return };
                let outlet = self.outlet.stream();
                let serial = outlet.serial();
                let outlet = Outlet::WebSocket { outlet, compresses: self.outlet.compresses() };
                let socket = Socket::new(session, Arc::clone(&member));
                let writing = Box::pin(self.inbox.app.stream(socket, outlet));
                self.stream = Some(Stream { member, serial, writing });
                continue;
            };
            if !session.has_stream(&stream.member) {
                // Its socket has left. The rest of what it has begun is part of a frame.
                self.outlet.end_stream(stream.serial);
            }
            if stream.writing.as_mut().poll(context).is_pending() {
                return;
            }
            if let Some(stream) = self.stream.take() {
                session.end_stream(&stream.member, true);
            }
        }
    }

    fn close(&self) {
        let code = match self.inbox.session.end() {
            // What it has yet to send is what there is too much of.
            Some(End::Overloaded) if self.outlet.stuck() > 0 => return self.outlet.cut(),
            Some(End::Malformed) => code::PROTOCOL,
            Some(End::Overloaded) => code::TRY_AGAIN,
            Some(End::Idle) => code::POLICY,
            Some(End::ServerClosed) => code::RESTART,
            Some(End::ClientClosed | End::Gone | End::Silent) | None => code::NORMAL,
        };
        self.outlet.close(code, "");
    }
}
