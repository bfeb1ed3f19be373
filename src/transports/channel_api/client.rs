//! What is kept of a client: the channels that it has joined, and how far its stream is.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::app::{App, LastSeen, StreamQuery};
use crate::domain::{EventFilter, Position};
use crate::error::Error;
use crate::events::{CatchUp, GoesOnFor, StreamId, StreamOptions, SubscribeRequest};
use crate::identity::{Principal, TopicPermit, TopicSubscriptions};

/// A client, whose requests may come to any thread.
#[derive(Default)]
pub struct Client(Mutex<State>);

#[derive(Default)]
struct State {
    /// `None` before the first token.
    channels: Option<TopicSubscriptions>,
    stream: Stream,
}

/// The stream of the messages.
#[derive(Default)]
enum Stream {
    /// There is no channel yet.
    #[default]
    None,
    /// It begins with what comes after it was asked for, though nobody writes it yet.
    Requested(Box<SubscribeRequest>),
    /// It is being written.
    Open(StreamId),
    /// It goes on where it stopped: after this position.
    Stopped(StreamId, Position),
}

/// What is to be done for a channel that was joined.
pub enum Joined {
    /// Nothing: its messages come already, or will.
    Done,
    /// Somebody has to write the stream.
    Write,
    /// The stream has to be given the channels that there are now.
    Change(StreamId, Principal, EventFilter),
}

fn query(filter: EventFilter, last_seen: LastSeen, goes_on: GoesOnFor) -> StreamQuery {
    let options = StreamOptions { backfill: false, ..StreamOptions::default() };
    StreamQuery { filter, last_seen, goes_on, snapshot: false, options }
}

impl Client {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins a channel. Its messages from now on come.
    ///
    /// # Errors
    /// [`Error::TooManyTopics`]; those of [`crate::app::Events::subscribe`].
    pub fn join(&self, app: &App, permit: TopicPermit) -> Result<Joined, Error> {
        let state = &mut *self.lock();
        let channel = permit.topic().clone();
        let channels = state.channels.get_or_insert_with(|| TopicSubscriptions::of(&permit));
        if !channels.add(permit)? {
            return Ok(Joined::Done);
        }
        let (guest, filter) = (channels.guest(), channels.filter());
        match &mut state.stream {
            Stream::Open(id) => Ok(Joined::Change(*id, guest, filter)),
            // It begins with all channels that there are then.
            Stream::Stopped(..) => Ok(Joined::Done),
            before => match app.events.subscribe(&guest, query(filter, LastSeen::Nothing, GoesOnFor::None)) {
                Ok(request) => {
                    let is_first = matches!(before, Stream::None);
                    let start = if let Stream::Requested(request) = before { request.start } else { request.start };
                    *before = Stream::Requested(Box::new(SubscribeRequest { start, ..request }));
                    Ok(if is_first { Joined::Write } else { Joined::Done })
                }
                Err(error) => {
                    channels.remove(channel.as_str());
                    Err(error)
                }
            },
        }
    }

    /// Leaves a channel whose messages cannot be given.
    pub fn leave(&self, channel: &str) {
        self.lock().channels.as_mut().map(|channels| channels.remove(channel));
    }

    /// Opens the stream that is to be written. `None` if there is none.
    ///
    /// # Errors
    /// Those of [`crate::app::Events::subscribe`].
    pub fn begin(&self, app: &App, open: impl FnOnce(SubscribeRequest) -> CatchUp) -> Result<Option<CatchUp>, Error> {
        let state = &mut *self.lock();
        let request = match (std::mem::take(&mut state.stream), &state.channels) {
            (Stream::Requested(request), _) => *request,
            (Stream::Stopped(id, position), Some(channels)) => {
                let after = LastSeen::Id(app.events.id_at(position));
                let query = query(channels.filter(), after, GoesOnFor::This(id));
                app.events.subscribe(&channels.guest(), query)?
            }
            (other, _) => {
                state.stream = other;
                return Ok(None);
            }
        };
        state.stream = Stream::Open(request.presence_guard.id);
        // With the lock held: a channel that is joined by another request must find the stream open.
        Ok(Some(open(request)))
    }

    /// Notes where the stream has stopped, so that it can go on.
    pub fn stop(&self, position: Position) {
        let state = &mut *self.lock();
        if let Stream::Open(id) = state.stream {
            state.stream = Stream::Stopped(id, position);
        }
    }
}
