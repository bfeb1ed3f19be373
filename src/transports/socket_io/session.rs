//! A session: its line, its packets and its sockets, behind one lock, since a poll, a post and a WebSocket may be served by different
//! threads. No code of the application runs with the lock held.

mod stream;

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::assembler::{Assembled, Assembler};
use super::engine_packet::EnginePacket;
use super::line::{End, Line, MAX_UNSENT_BYTES};
use super::lock::lock;
use super::malformed::Malformed;
use super::members::{Answer, Member, Members};
use super::outbox::Frame;
use super::packet::Writer;
use super::settings::Settings;
use super::shares::Share;
use super::sid::Sid;
use super::types::Types;

/// How much work of one session may be under way.
pub const MAX_IN_FLIGHT: usize = 64;
/// How many bytes of a client's are worked on before nothing more is read from it.
const MAX_WORKING_BYTES: usize = 1 << 20;
/// Maximum length of a post, of a message on a WebSocket, and of a packet with its attachments, of a client that has joined no
/// namespace, in bytes.
pub const MAX_UNADMITTED_BYTES: usize = 32 << 10;

/// A session of Engine.IO, with its sockets.
pub struct Session<T: Types> {
    /// What its requests know it by.
    pub sid: Sid,
    /// The request that opened it.
    pub peer: T::Peer,
    settings: Arc<Settings>,
    state: Mutex<State<T>>,
}

struct State<T: Types> {
    line: Line,
    assembler: Assembler,
    members: Members<T>,
    /// When it ends if it has no socket by then.
    idle_until: Instant,
    stream: Stream<T>,
    /// How much work is under way.
    in_flight: usize,
    /// How many bytes the client has sent for that.
    working: usize,
    /// The tasks that do work which goes on after its post. In a box, since only long polling has them.
    tasks: Option<Box<Tasks>>,
    /// Its part of the memory.
    share: Share<T::Client>,
}

#[derive(Default)]
struct Tasks(Vec<AbortHandle>);

/// The event stream of a session.
enum Stream<T: Types> {
    None,
    /// The application wants one for this socket.
    Wanted(Arc<Member<T>>),
    /// One is being written.
    Running(Arc<Member<T>>),
}

impl<T: Types> State<T> {
    /// Returns what is to be dropped after the lock: it has code of the application in it.
    fn leave(&mut self, namespace: &str, settings: &Settings) -> Option<Members<T>> {
        let left = self.members.remove(namespace)?;
        self.idle_until = Instant::now() + settings.connect_timeout;
        if let Stream::Wanted(member) | Stream::Running(member) = &self.stream
            && !self.members.has(member)
        {
            self.stream = Stream::None;
            self.line.end_stream();
        }
        Some(left)
    }

    /// Whether the client may join a namespace.
    fn may_join(&self, namespace: &str) -> Result<bool, Malformed> {
        if self.members.get(namespace).is_some() { Err(Malformed) } else { Ok(!self.members.is_full()) }
    }

    /// Whether this member's event stream is the one that is being written.
    fn streams_for(&self, member: &Arc<Member<T>>) -> bool {
        matches!(&self.stream, Stream::Running(running) if Arc::ptr_eq(running, member))
    }

    /// How large something that the client sends may be, in bytes.
    fn max_payload(&self, settings: &Settings) -> usize {
        if self.members.is_empty() { settings.max_payload.min(MAX_UNADMITTED_BYTES) } else { settings.max_payload }
    }

    /// How much memory it takes, in bytes.
    fn held(&self) -> usize {
        self.line.held() + self.assembler.held() + self.working
    }
}

impl<T: Types> Session<T> {
    /// A session that begins with a WebSocket or with long polling. The first that it says is what a client must know of it.
    pub fn new(
        sid: Sid,
        peer: T::Peer,
        settings: &Arc<Settings>,
        is_websocket: bool,
        share: Share<T::Client>,
    ) -> Arc<Self> {
        let now = Instant::now();
        let mut line = Line::new(is_websocket, now + settings.ping_interval);
        line.send(Frame::text(settings.open_packet(&sid.text(), is_websocket)));
        let state = State {
            line,
            assembler: Assembler::default(),
            members: Members::default(),
            idle_until: now + settings.connect_timeout,
            stream: Stream::None,
            in_flight: 0,
            working: 0,
            tasks: None,
            share,
        };
        Arc::new(Self { sid, peer, settings: Arc::clone(settings), state: Mutex::new(state) })
    }

    /// Does something with its state, and then what always has to be done: a session that holds too much ends, and what a session that
    /// has ended leaves behind is dropped, after the lock.
    fn with<R>(&self, act: impl FnOnce(&mut State<T>) -> R) -> R {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let result = act(state);
        let is_too_much = state.line.held() > MAX_UNSENT_BYTES + 2 * self.settings.max_payload;
        // One that has ended holds nothing more, and takes no room from others.
        let is_open = state.line.end().is_none();
        if is_open && (is_too_much || !state.share.hold(state.held())) {
            state.line.close(End::Overloaded);
        }
        let is_over = state.line.end().is_some();
        let left = is_over.then(|| {
            state.share.hold(0);
            state.stream = Stream::None;
            let Tasks(tasks) = state.tasks.take().map_or_else(Tasks::default, |tasks| *tasks);
            (std::mem::take(&mut state.members), std::mem::take(&mut state.assembler), tasks)
        });
        drop(guard);
        if let Some((.., tasks)) = left {
            tasks.iter().for_each(AbortHandle::abort);
        }
        result
    }

    /// How large something that the client sends may be now, in bytes: less before it has joined a namespace.
    pub fn max_payload(&self) -> usize {
        lock(&self.state).max_payload(&self.settings)
    }

    /// Does something with its line.
    pub fn line<R>(&self, act: impl FnOnce(&mut Line) -> R) -> R {
        self.with(|state| act(&mut state.line))
    }

    /// How much memory it takes, in bytes.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        lock(&self.state).held()
    }

    /// Why it has ended, if it has.
    pub fn end(&self) -> Option<End> {
        lock(&self.state).line.end()
    }

    /// Ends it.
    pub fn close(&self, end: End) {
        self.line(|line| line.close(end));
    }

    /// Does what is due, and returns when it is to be called next; `None` if the session has ended.
    pub fn beat(&self, now: Instant) -> Option<Instant> {
        let Settings { ping_interval, ping_timeout, .. } = *self.settings;
        self.with(|state| {
            if state.members.is_empty() && now >= state.idle_until {
                state.line.close(End::Idle);
            }
            state.line.beat(now, ping_timeout);
            let idle_until = if state.members.is_empty() { state.idle_until } else { state.line.due() };
            // A pong moves what is due to a moment that can be sooner than this, but not by more.
            let next = state.line.due().min(now + ping_interval).min(idle_until);
            state.line.end().is_none().then_some(next)
        })
    }

    /// Takes a packet of the client's. Returns the packet of Socket.IO that is complete by it. A session whose client does not keep to
    /// the protocol ends.
    pub fn receive(&self, packet: Option<EnginePacket<'_>>) -> Option<Assembled> {
        self.with(|state| {
            if state.line.end().is_some() {
                return None;
            }
            let assembled = match packet {
                Some(EnginePacket::Message(text)) => state.assembler.text(text),
                Some(EnginePacket::Binary(bytes)) => {
                    let max_bytes = state.max_payload(&self.settings);
                    state.assembler.binary(bytes, max_bytes)
                }
                Some(EnginePacket::Pong) => {
                    state.line.pong(Instant::now(), self.settings.ping_interval);
                    Ok(None)
                }
                Some(EnginePacket::Close) => {
                    state.line.close(End::ClientClosed);
                    Ok(None)
                }
                Some(EnginePacket::Upgrade | EnginePacket::Nothing) => Ok(None),
                // In this version it is the server that pings.
                Some(EnginePacket::Ping(_)) | None => Err(Malformed),
            };
            assembled.unwrap_or_else(|Malformed| {
                state.line.close(End::Malformed);
                None
            })
        })
    }

    /// Becomes ready when more may be read from the client by this transport, or when nothing more is: the session has ended, or another
    /// transport has taken over. So one task waits at a time.
    pub fn poll_room(&self, is_websocket: bool, context: &Context<'_>) -> Poll<()> {
        self.with(|state| {
            let has_room =
                state.line.has_room() && state.in_flight < MAX_IN_FLIGHT && state.working < MAX_WORKING_BYTES;
            let is_over = state.line.end().is_some() || state.line.is_websocket() != is_websocket;
            if has_room || is_over { Poll::Ready(()) } else { state.line.room.wait(context) }
        })
    }

    /// Counts work as under way, as so many pieces of it, and so many bytes that the client has sent for it, until what is returned is
    /// dropped.
    pub fn begin_work(self: &Arc<Self>, weight: usize, bytes: usize) -> WorkGuard<T> {
        self.with(|state| {
            state.in_flight += weight;
            state.working += bytes;
        });
        WorkGuard { session: Arc::clone(self), weight, bytes }
    }

    /// Has a task aborted when the session ends.
    pub fn keep_task(&self, task: AbortHandle) {
        self.with(|state| {
            let Tasks(tasks) = &mut **state.tasks.get_or_insert_default();
            tasks.retain(|task| !task.is_finished());
            tasks.push(task);
        });
    }

    /// Whether a client may ask to join a namespace: it has not joined it yet, and not too many others.
    pub fn may_join(&self, namespace: &str) -> Result<bool, Malformed> {
        lock(&self.state).may_join(namespace)
    }

    /// Makes the session a member of a namespace, and tells the client. Returns whether it is: the session may have ended, and may have
    /// joined too many others meanwhile.
    ///
    /// # Errors
    /// [`Malformed`] if it has joined this one meanwhile: an upgrade lets packets of a post and of the WebSocket be taken side by side.
    pub fn join(&self, member: &Arc<Member<T>>, pid: Option<&str>) -> Result<bool, Malformed> {
        let packet = Writer::connect(&member.namespace, &member.id, pid);
        self.with(|state| {
            let may = state.line.end().is_none() && state.may_join(&member.namespace)?;
            if may {
                state.members.add(Arc::clone(member));
                state.line.send(Frame::text(packet));
            }
            Ok(may)
        })
    }

    /// Ends the membership in a namespace. Returns whether there was one.
    pub fn leave(&self, namespace: &str) -> bool {
        let left = self.with(|state| state.leave(namespace, &self.settings));
        left.is_some()
    }

    /// Ends this membership, and tells the client. Does nothing if it has ended already.
    pub fn expel(&self, member: &Arc<Member<T>>) {
        let left = self.with(|state| {
            let is_member = state.members.has(member);
            is_member.then(|| {
                let left = state.leave(&member.namespace, &self.settings);
                state.line.send(Frame::text(Writer::disconnect(&member.namespace)));
                left
            })
        });
        drop(left);
    }

    /// The membership in a namespace.
    pub fn member(&self, namespace: &str) -> Option<Arc<Member<T>>> {
        lock(&self.state).members.get(namespace).cloned()
    }

    /// Says something to a client that is a member. Returns whether it is.
    pub fn send(&self, member: &Arc<Member<T>>, frames: impl FnOnce() -> Vec<Frame>) -> bool {
        self.with(|state| {
            let is_member = state.members.has(member);
            if is_member {
                frames().into_iter().for_each(|frame| state.line.send(frame));
            }
            is_member
        })
    }

    /// Says something that a client that is a member has to answer; the frames are made for the id of the question.
    pub fn ask(
        &self,
        member: &Arc<Member<T>>,
        frames: impl FnOnce(u64) -> Vec<Frame>,
    ) -> Option<oneshot::Receiver<Answer>> {
        self.with(|state| {
            let (id, answer) = state.members.ask(member)?;
            frames(id).into_iter().for_each(|frame| state.line.send(frame));
            Some(answer)
        })
    }

    /// Takes the answer to a question. Returns whether the session is in the namespace.
    pub fn answer(&self, namespace: &str, id: u64, answer: Answer) -> bool {
        self.with(|state| state.members.answer(namespace, id, answer))
    }
}

/// Work that is under way.
pub struct WorkGuard<T: Types> {
    session: Arc<Session<T>>,
    weight: usize,
    bytes: usize,
}

impl<T: Types> Drop for WorkGuard<T> {
    fn drop(&mut self) {
        self.session.with(|state| {
            state.in_flight -= self.weight;
            state.working -= self.bytes;
            state.line.room.wake();
        });
    }
}

/// The upgrade, and what it does to the limits.
impl<T: Types> Session<T> {
    /// The WebSocket has taken over. Returns whether it has: the session may have ended meanwhile.
    pub fn upgrade(&self) -> bool {
        self.with(|state| {
            let has = state.line.upgrade();
            if has {
                state.share.connect();
            }
            has
        })
    }

    /// The answer to the poll that was begun.
    pub fn poll_answer(&self, context: &Context<'_>) -> Poll<Bytes> {
        self.line(|line| line.poll_answer(context))
    }
}
