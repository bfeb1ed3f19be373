//! Long polling: polls, which wait for what there is to say, and posts, which bring what the client says.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::application::Application;
use super::engine_packet::{EnginePacket, SEPARATOR};
use super::inbox::Inbox;
use super::line::{End, Line};
use super::members::Member;
use super::outlet::{Outlet, PollingOutlet};
use super::refusal::Refusal;
use super::session::Session;
use super::sessions::Sessions;
use super::socket::Socket;
use super::types::Types;

/// A poll. Dropped before it is answered, it ends its session: the client has gone.
pub struct PollCall<T: Types> {
    sessions: Arc<Sessions<T>>,
    session: Arc<Session<T>>,
    /// What the session knows it by.
    number: u32,
    is_answered: bool,
    /// Whether it is yet to be known that the answer has been sent.
    is_sending: bool,
}

impl<T: Types> PollCall<T> {
    /// Begins one.
    ///
    /// # Errors
    /// [`Refusal::BadRequest`] if the session has one already, which ends it.
    pub(super) fn begin(sessions: &Arc<Sessions<T>>, session: Arc<Session<T>>) -> Result<Self, Refusal> {
        if let Some(number) = session.line(Line::begin_poll) {
            return Ok(Self { sessions: Arc::clone(sessions), session, number, is_answered: false, is_sending: false });
        }
        sessions.forget(&session);
        Err(Refusal::BadRequest)
    }

    /// Waits for something to say. It is the body of the answer, of the type `text/plain; charset=UTF-8`.
    pub async fn answer(mut self) -> Bytes {
        poll_fn(|context| self.poll_answer(context)).await
    }

    /// The same, for a connection on which more polls may come. It is called until it is ready.
    pub fn poll_answer(&mut self, context: &Context<'_>) -> Poll<Bytes> {
        let answer = ready!(self.session.poll_answer(context));
        self.is_answered = true;
        Poll::Ready(answer)
    }

    /// Ends it once it is answered: the next poll of the session may come on the same connection, or on another. The answer counts for the
    /// session until it has been sent: until something is asked of what is returned, or it is dropped.
    pub fn answered(mut self) -> LastPoll<T> {
        self.is_sending = true;
        let (sessions, session) = (Arc::clone(&self.sessions), Arc::clone(&self.session));
        LastPoll { sessions, session, number: self.number, is_noted: Cell::new(true) }
    }
}

impl<T: Types> Drop for PollCall<T> {
    fn drop(&mut self) {
        let has_ended = self.session.line(|line| {
            line.end_poll(self.is_answered);
            if !self.is_sending {
                line.sent();
            }
            line.end().is_some()
        });
        if has_ended {
            self.sessions.forget(&self.session);
        }
    }
}

/// The last poll of a session, whose connection waits for the next one.
pub struct LastPoll<T: Types> {
    sessions: Arc<Sessions<T>>,
    session: Arc<Session<T>>,
    number: u32,
    /// Whether the session may know the task that waits, or count the answer.
    is_noted: Cell<bool>,
}

impl<T: Types> LastPoll<T> {
    /// Begins the next one. `None` if it was not the last one, or the session takes no more polls: then nothing has happened.
    pub fn again(self) -> Option<PollCall<T>> {
        let number = self.session.line(|line| line.poll_again(self.number))?;
        self.is_noted.set(false);
        let (sessions, session) = (Arc::clone(&self.sessions), Arc::clone(&self.session));
        Some(PollCall { sessions, session, number, is_answered: false, is_sending: false })
    }

    /// Becomes ready when [`LastPoll::again`] can only fail. Wakes as a future does.
    pub fn poll_over(&self, context: &Context<'_>) -> Poll<()> {
        self.session.line(|line| line.poll_last(self.number, context))
    }
}

impl<T: Types> Drop for LastPoll<T> {
    fn drop(&mut self) {
        if self.is_noted.get() {
            self.session.line(|line| line.forget_last(self.number));
        }
    }
}

/// A post, which comes before its body. Dropped before [`PostCall::take`] returns, it ends its session: what was cut off cannot be told.
pub struct PostCall<A: Application> {
    sessions: Arc<Sessions<A>>,
    session: Arc<Session<A>>,
    is_over: bool,
}

impl<A: Application> PostCall<A> {
    /// Begins one.
    ///
    /// # Errors
    /// [`Refusal::BadRequest`] if the session has one already, or its body is not a text, which ends the session.
    pub(super) fn begin(sessions: &Arc<Sessions<A>>, session: Arc<Session<A>>, is_text: bool) -> Result<Self, Refusal> {
        let begins = session.line(|line| {
            if !is_text {
                line.close(End::Malformed);
            }
            is_text && line.begin_post()
        });
        if begins {
            return Ok(Self { sessions: Arc::clone(sessions), session, is_over: false });
        }
        sessions.forget(&session);
        Err(Refusal::BadRequest)
    }

    /// Maximum length of the body, in bytes. It is less before the client has joined a namespace.
    pub fn max_bytes(&self) -> usize {
        self.session.max_payload()
    }

    /// Refuses a body that is too large, or does not come. The session goes on.
    pub fn refuse(mut self) {
        self.is_over = true;
    }

    /// Takes the body. The body of the answer is then `ok`, of the type `text/plain; charset=UTF-8`.
    ///
    /// # Errors
    /// [`Refusal::BadRequest`] if the body does not keep to the protocol, which ends the session, or if the session has ended meanwhile.
    pub async fn take(mut self, app: A, body: &str) -> Result<&'static str, Refusal> {
        let mut inbox = Inbox::new(app, Arc::clone(&self.session), self.sessions.random);
        let mut packets = body.split(SEPARATOR).peekable();
        while packets.peek().is_some() {
            poll_fn(|context| inbox.poll_room(false, context)).await;
            // Another transport brings packets now, which would come between these.
            if !self.session.line(|line| line.is_polling()) {
                break;
            }
            inbox.take(packets.next().and_then(EnginePacket::parse)).await;
            begin_stream(&inbox);
        }
        self.is_over = true;
        finish(inbox);
        match self.session.end() {
            None if packets.next().is_none() => Ok("ok"),
            Some(End::ClientClosed | End::ServerClosed) => Ok("ok"),
            None | Some(_) => Err(Refusal::BadRequest),
        }
    }
}

/// Does the work that outlasts the post, until the session ends.
fn finish<A: Application>(mut inbox: Inbox<A>) {
    if inbox.has_work() {
        let session = Arc::clone(&inbox.session);
        let work = poll_fn(move |context| {
            let done = inbox.poll_work(context);
            begin_stream(&inbox);
            done
        });
        session.keep_task(tokio::task::spawn_local(work).abort_handle());
    }
}

impl<A: Application> Drop for PostCall<A> {
    fn drop(&mut self) {
        self.session.line(|line| {
            line.end_post();
            if !self.is_over {
                line.close(End::Gone);
            }
        });
        if self.session.end().is_some() {
            self.sessions.forget(&self.session);
        }
    }
}

/// Begins the event stream of a session, if one is wanted.
fn begin_stream<A: Application>(inbox: &Inbox<A>) {
    let Some(member) = inbox.session.begin_stream(false) else { return };
    let end = StreamEnd { session: Arc::clone(&inbox.session), member: Arc::clone(&member) };
    let outlet = Outlet::Polling(PollingOutlet::new(Arc::clone(&inbox.session), Arc::clone(&member)));
    let stream = inbox.app.stream(Socket::new(&inbox.session, member), outlet);
    let stream = tokio::task::spawn_local(async move {
        let _end = end;
        stream.await;
    });
    inbox.session.keep_task(stream.abort_handle());
}

/// Tells the session of the end of its event stream, however that comes.
struct StreamEnd<T: Types> {
    session: Arc<Session<T>>,
    member: Arc<Member<T>>,
}

impl<T: Types> Drop for StreamEnd<T> {
    fn drop(&mut self) {
        self.session.end_stream(&self.member, false);
    }
}
