//! What is kept of a user's socket: who signed in, and where its stream is.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Turn, Notify};

use super::command::{Command, lacked_stream};
use crate::app::{App, Services};
use crate::domain::Position;
use crate::error::Error;
use crate::events::{CatchUp, End, Ending, HandOver, StreamOptions, SubscribeRequest};
use crate::transports::commands::{Answer, Obeyed, Opening, SignedIn};

/// A socket, whose requests may come to any thread.
pub struct Client {
    state: Mutex<State>,
    /// Held by the command that changes the stream: the others come after it, in the order in which they were sent.
    turn: Turn<()>,
    /// How many commands hold the turn or wait for it.
    in_turn: AtomicUsize,
    /// Told when the stream is opened.
    opened: Notify,
    /// Whether events carry their offset.
    pub has_offsets: bool,
}

struct State {
    signed_in: SignedIn,
    options: StreamOptions,
    stream: Stream,
    /// How often the stream was opened.
    opened: u32,
}

/// The stream.
enum Stream {
    /// It is asked for, and nobody writes it yet.
    Requested(Box<SubscribeRequest>),
    /// It is being written.
    Open,
    /// It goes on where it stands, on the WebSocket of the session.
    Between(Box<HandOver>),
    /// Nothing more comes.
    Over,
}

impl Client {
    /// A client that has signed in, and whose stream is to be written.
    pub fn new(Opening { signed_in, request }: Opening, has_offsets: bool) -> Self {
        let (options, stream) = (request.options, Stream::Requested(Box::new(request)));
        let state = State { signed_in, options, stream, opened: 0 };
        Self {
            state: Mutex::new(state),
            turn: Turn::default(),
            in_turn: AtomicUsize::new(0),
            opened: Notify::new(),
            has_offsets,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the stream that is to be written. `None` if there is none.
    ///
    /// # Errors
    /// Those of [`Events::go_on`](crate::app::Events::go_on).
    pub fn open(&self, app: &App, open: impl FnOnce(SubscribeRequest) -> CatchUp) -> Result<Option<CatchUp>, Error> {
        let state = &mut *self.lock();
        let request = match std::mem::replace(&mut state.stream, Stream::Over) {
            Stream::Requested(request) => *request,
            Stream::Between(stands) => {
                let SignedIn { principal, stream, .. } = &state.signed_in;
                app.events.go_on(principal, *stream, *stands, state.options)?
            }
            other => {
                state.stream = other;
                return Ok(None);
            }
        };
        state.signed_in.stream = request.presence_guard.id;
        // With the lock held: a command that comes by another request finds the stream open.
        let stream = open(request);
        (state.stream, state.opened) = (Stream::Open, state.opened + 1);
        self.opened.notify_waiters();
        Ok(Some(stream))
    }

    /// Notes where the stream has stopped; `None` if nothing more comes.
    pub fn stop(&self, stands: Option<HandOver>) {
        self.lock().stream = stands.map_or(Stream::Over, |stands| Stream::Between(Box::new(stands)));
        self.opened.notify_waiters();
    }

    /// How its stream ends if its sign-in is over and the stream itself did not say so. Where it stood is not known.
    pub fn shut_out(&self, services: &Services) -> Ending {
        let State { signed_in, options, .. } = &*self.lock();
        let why = if services.events.has_expired(&signed_in.principal) { End::Expired } else { End::Revoked };
        Ending { why, told: options.marks.then(|| services.events.id_at(Position::START)) }
    }

    /// Whether the sign-in is over.
    pub fn is_shut_out(&self, services: &Services) -> bool {
        services.identity.recheck(&self.lock().signed_in.principal).is_err()
    }

    /// Carries out a command at once, if it is not about the stream itself.
    ///
    /// # Errors
    /// Those of [`SignedIn::obey`].
    pub fn obey(&self, services: &Services, command: &Command) -> Result<Obeyed, Error> {
        command.obey(&mut self.lock().signed_in, services)
    }

    /// Has a command come after those that were sent before, if it is about the stream, or if one of them that is has yet to be done:
    /// such as an insert behind the `renew` that allows it.
    pub fn take_turn(self: &Arc<Self>, command: &Command) -> Option<InTurn> {
        if !command.is_of_stream() && self.in_turn.load(Relaxed) == 0 {
            return None;
        }
        self.in_turn.fetch_add(1, Relaxed);
        Some(InTurn(Arc::clone(self)))
    }

    /// Carries out a command. If it is about the stream, and that is about to be opened, or goes from long polling to a WebSocket, it waits
    /// for that.
    async fn obey_in_turn(&self, services: &Services, command: &Command) -> Answer {
        let _turn = self.turn.lock().await;
        loop {
            let mut opened = pin!(self.opened.notified());
            opened.as_mut().enable();
            let before = self.lock().opened;
            let obeyed = self.obey(services, command);
            let answer = finish(services, obeyed).await;
            if !lacked_stream(&answer) {
                return answer;
            }
            let is_between = {
                let state = self.lock();
                match state.stream {
                    Stream::Requested(_) | Stream::Between(_) => true,
                    // It was opened meanwhile.
                    Stream::Open if state.opened != before => continue,
                    Stream::Open | Stream::Over => false,
                }
            };
            if !is_between {
                return answer;
            }
            opened.await;
        }
    }
}

/// A command's place behind those that were sent before.
pub struct InTurn(Arc<Client>);

impl InTurn {
    /// Carries it out when its turn has come.
    pub async fn obey(self, services: &Services, command: &Command) -> Answer {
        self.0.obey_in_turn(services, command).await
    }
}

impl Drop for InTurn {
    fn drop(&mut self) {
        self.0.in_turn.fetch_sub(1, Relaxed);
    }
}

/// The answer to a command, when it has been carried out.
pub async fn finish(services: &Services, obeyed: Result<Obeyed, Error>) -> Answer {
    match obeyed {
        Ok(Obeyed::Now(answer)) => answer,
        Ok(Obeyed::Later(mut doing)) => poll_fn(|context| doing.poll(services, context)).await,
        Err(error) => Answer::refused(error),
    }
}
