//! What a client sends, on its way to the application: packet after packet, while the work that they cause goes on side by side.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Map, Value};

use super::application::{Admission, Application, Connect, ConnectError, Event, Work};
use super::assembler::Assembled;
use super::engine_packet::EnginePacket;
use super::line::End;
use super::malformed::Malformed;
use super::members::{Answer, Member};
use super::outbox::Frame;
use super::packet::{Content, MAX_AUTH_BYTES, Packet, Writer};
use super::session::{Session, WorkGuard};
use super::sid::Sid;
use super::socket::{Ack, Socket};
use super::types::Types;

/// The way from a session to the application, on one thread.
pub struct Inbox<A: Application> {
    pub app: A,
    pub session: Arc<Session<A>>,
    random: fn() -> [u8; Sid::BYTES],
    /// `None` while there is nothing to do, which is most of the time.
    in_flight: Option<Box<InFlight<A>>>,
    taking: Taking,
}

/// Work that is under way, side by side.
type InFlight<A> = FuturesUnordered<Counted<A>>;

/// The packet that is being taken.
enum Taking {
    Nothing,
    /// One that took no time.
    Taken,
    /// One by which the client joins a namespace.
    Connect(Pin<Box<dyn Future<Output = Result<(), Malformed>>>>),
}

/// Work that counts for its session.
struct Counted<T: Types> {
    work: Work,
    _guard: WorkGuard<T>,
}

impl<T: Types> Future for Counted<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.work.future.as_mut().poll(context)
    }
}

impl<A: Application> Inbox<A> {
    pub fn new(app: A, session: Arc<Session<A>>, random: fn() -> [u8; Sid::BYTES]) -> Self {
        Self { app, session, random, in_flight: None, taking: Taking::Nothing }
    }

    /// Whether work is under way.
    pub fn has_work(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Does the work that is under way, as far as that is possible now.
    pub fn poll_work(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(in_flight) = &mut self.in_flight {
            while ready!(in_flight.poll_next_unpin(context)).is_some() {}
            self.in_flight = None;
        }
        Poll::Ready(())
    }

    /// Becomes ready when the next packet may be read, or when none comes by this transport any more.
    pub fn poll_room(&mut self, is_websocket: bool, context: &mut Context<'_>) -> Poll<()> {
        let _ = self.poll_work(context);
        self.session.poll_room(is_websocket, context)
    }

    /// Takes a packet, as [`Inbox::begin`].
    pub async fn take(&mut self, packet: Option<EnginePacket<'_>>) {
        self.begin(packet);
        poll_fn(|context| self.poll_taken(context)).await;
    }

    /// Whether a packet is being taken.
    pub fn is_taking(&self) -> bool {
        !matches!(self.taking, Taking::Nothing)
    }

    /// Begins to take a packet; `None` for what is not one. Packets for a session that has ended go nowhere.
    pub fn begin(&mut self, packet: Option<EnginePacket<'_>>) {
        self.taking = Taking::Taken;
        let Some(assembled) = self.session.receive(packet) else { return };
        let bytes = assembled.cost();
        let Assembled { packet: Packet { namespace, content, .. }, attachments } = assembled;
        let session = &self.session;
        let taken = match content {
            Content::Connect(auth) => {
                let (guard, app) = (session.begin_work(1, bytes), self.app.clone());
                let connect = connect(app, Arc::clone(session), self.random, namespace, auth);
                self.taking = Taking::Connect(Box::pin(async move {
                    let _guard = guard;
                    connect.await
                }));
                return;
            }
            Content::Disconnect => session.leave(&namespace).then_some(()).ok_or(Malformed),
            Content::Ack { id, args, .. } => {
                session.answer(&namespace, id, Answer { args, attachments }).then_some(()).ok_or(Malformed)
            }
            Content::Event { id, name, args, .. } => match session.member(&namespace) {
                Some(member) => {
                    let socket = Socket::new(session, member);
                    let ack = id.map(|id| Ack::new(socket.clone(), id));
                    if let Some(work) = self.app.event(&socket, Event { name, args, attachments, ack }) {
                        let work = Counted { _guard: session.begin_work(work.weight, bytes), work };
                        self.in_flight.get_or_insert_default().push(work);
                    }
                    Ok(())
                }
                None => Err(Malformed),
            },
        };
        self.settle(taken);
    }

    fn settle(&self, taken: Result<(), Malformed>) {
        if taken.is_err() {
            // A client that has left a namespace may have sent something before it knew. The original ends its session, too.
            self.session.close(End::Malformed);
        }
    }

    /// Becomes ready when the packet has been taken.
    pub fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Taking::Connect(connecting) = &mut self.taking {
            let taken = ready!(connecting.as_mut().poll(context));
            self.settle(taken);
        }
        self.taking = Taking::Nothing;
        // In order, and before the next packet.
        let _ = self.poll_work(context);
        Poll::Ready(())
    }
}

/// Lets a client join a namespace, if the application admits it.
async fn connect<A: Application>(
    app: A,
    session: Arc<Session<A>>,
    random: fn() -> [u8; Sid::BYTES],
    namespace: String,
    auth: Option<Map<String, Value>>,
) -> Result<(), Malformed> {
    let refuse = |ConnectError { message, data }: ConnectError| {
        let packet = Writer::connect_error(&namespace, &message, data.as_deref());
        session.line(|line| line.send(Frame::text(packet)));
    };
    if !session.may_join(&namespace)? {
        refuse(ConnectError::new("Too many namespaces"));
        return Ok(());
    }
    let Some(auth) = auth else {
        refuse(ConnectError::new(format!("The option auth has more than {MAX_AUTH_BYTES} bytes")));
        return Ok(());
    };
    match app.connect(Connect { namespace: &namespace, auth, peer: &session.peer }).await {
        Err(error) => refuse(error),
        Ok(Admission { state, pid, sid }) => {
            let id = sid.unwrap_or_else(|| Sid::new(random()).text()).into();
            let member = Arc::new(Member { namespace: namespace.into(), id, keeps_offset: pid.is_some(), state });
            if session.join(&member, pid.as_deref())? {
                app.connected(&Socket::new(&session, member));
            }
        }
    }
    Ok(())
}
