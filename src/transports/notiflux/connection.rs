//! One client: its commands, and the stream of the topics that it is subscribed to.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use serde::Serialize;
use tokio::time::{Sleep, sleep};

use super::command::Command;
use super::format::TopicMessages;
use crate::app::{App, LastSeen, StreamQuery};
use crate::domain::{EventFilter, EventName, FilterChange};
use crate::error::Error;
use crate::events::{CatchUp, End, GoesOnFor, StreamId, StreamOptions};
use crate::identity::{Principal, TopicSubscriptions, TopicUse};
use crate::transports::stream_sink::{Ended, StreamSink};
use crate::transports::ws::{Inlet, Message, Outlet, Serial, code};

/// How large a command may be, in bytes; notiflux takes as much.
pub const MAX_MESSAGE_BYTES: usize = 65_536;
/// How many commands are carried out before the stream is changed, and others on this thread have their turn. Each may have a signature
/// to check, which takes about a tenth of a millisecond.
const COMMANDS_AT_ONCE: usize = 32;
/// How often it is looked for topics that have ended, if topics end.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Serves a client until it goes. It is told why a command is refused if it asked for that; notiflux says nothing.
pub async fn serve(app: App, tells_errors: bool, mut inlet: Inlet, outlet: Outlet) {
    let ended = Ended::default();
    let mut client = Client { app, tells_errors, outlet, topics: None, stream: None, next_look: None, ended };
    while let Some(next) = client.next(&mut inlet).await {
        let mut change = Change::default();
        match next {
            Next::Message(message) => client.take(message, &mut change),
            Next::Look => change.is_due = client.look(),
        }
        for _ in 1..COMMANDS_AT_ONCE {
            // Answers may be long, and nothing more is read before there is room for them.
            if !change.answers.is_empty() {
                break;
            }
            let Some(Some(message)) = inlet.next().now_or_never() else { break };
            client.take(message, &mut change);
        }
        // In a box, so that a connection has no room for it while it is idle.
        if Box::pin(client.follow(change)).await.is_none() {
            break;
        }
    }
    if inlet.end().is_none() {
        let (code, why) = match client.ended.get().map(|ending| ending.why) {
            Some(End::Unreadable) => (code::INTERNAL, "the messages cannot be read"),
            Some(End::Stopping { .. }) => (code::RESTART, "the server stops"),
            _ => (code::GOING_AWAY, ""),
        };
        client.outlet.close(code, why);
    }
}

struct Client {
    app: App,
    tells_errors: bool,
    outlet: Outlet,
    /// `None` before the first token.
    topics: Option<TopicSubscriptions>,
    /// `None` while there is no topic.
    stream: Option<Stream>,
    /// `None` while no topic ends before the connection does.
    next_look: Option<Pin<Box<Sleep>>>,
    /// How the stream has ended, once it has.
    ended: Ended,
}

/// The stream of a client.
struct Stream {
    id: StreamId,
    /// What its outlet is known by.
    serial: Serial,
    catch_up: CatchUp,
}

/// What happens next.
enum Next {
    Message(Message),
    /// It is time to look for topics that have ended.
    Look,
}

/// What commands have changed.
#[derive(Default)]
struct Change {
    is_due: bool,
    added: Vec<EventName>,
    /// What is told of the commands. It is sent once the stream follows, so an answer says that the commands before are in force.
    answers: Vec<String>,
}

/// A refusal as the client is told it.
#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
    code: &'static str,
    topic: &'a str,
}

impl Client {
    /// Has the stream go on until something happens; `None` when the client has gone or the stream has ended.
    async fn next(&mut self, inlet: &mut Inlet) -> Option<Next> {
        poll_fn(|context| {
            if self.poll_end(context).is_ready() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(message) = inlet.poll_next(context) {
                return Poll::Ready(message.map(Next::Message));
            }
            let look = self.next_look.as_mut().map(|look| look.as_mut().poll(context));
            if look.is_some_and(|look| look.is_ready()) { Poll::Ready(Some(Next::Look)) } else { Poll::Pending }
        })
        .await
    }

    /// Becomes ready when the stream has ended.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.stream {
            Some(stream) => Pin::new(&mut stream.catch_up).poll(context),
            None => Poll::Pending,
        }
    }

    /// Carries out a command, as far as the stream is not changed by it.
    fn take(&mut self, message: Message, change: &mut Change) {
        let Message::Text(text) = message else { return };
        match Command::read(&text) {
            Ok(None) => {}
            Ok(Some(Command::Subscribe { topic, token })) => match self.subscribe(topic, token) {
                Ok(Some(added)) => {
                    change.is_due = true;
                    change.added.push(added);
                }
                Ok(None) => {}
                Err(error) => change.answers.extend(self.refusal(&error, topic)),
            },
            Ok(Some(Command::Unsubscribe { topic })) => {
                change.is_due |= self.topics.as_mut().is_some_and(|topics| topics.remove(topic));
            }
            Ok(Some(Command::UnsubscribeAll)) => {
                change.is_due |= self.topics.as_mut().is_some_and(TopicSubscriptions::clear);
            }
            Err(answer) => change.answers.push(answer.to_owned()),
        }
    }

    /// Adds a topic. Returns it if it is a new one.
    fn subscribe(&mut self, topic: &str, token: &str) -> Result<Option<EventName>, Error> {
        let permit = self.app.identity.topic_permit(token, topic, TopicUse::Subscribe)?;
        let topic = permit.topic().clone();
        let topics = self.topics.get_or_insert_with(|| TopicSubscriptions::of(&permit));
        let is_new = topics.add(permit)?;
        if topics.can_end() && self.next_look.is_none() {
            self.next_look = Some(Box::pin(sleep(LOOK_EVERY)));
        }
        Ok(is_new.then_some(topic))
    }

    /// Takes out the topics that have ended. Returns whether there was one.
    fn look(&mut self) -> bool {
        let Some(topics) = &mut self.topics else { return false };
        let has_ended = self.app.identity.take_ended(topics);
        self.next_look = topics.can_end().then(|| Box::pin(sleep(LOOK_EVERY)));
        has_ended
    }

    /// Has the stream give the topics that there are now, and answers. A topic that it cannot give is none. `None` if the stream has
    /// ended.
    async fn follow(&mut self, mut change: Change) -> Option<()> {
        if change.is_due
            && let Err(error) = self.change().await?
        {
            for topic in change.added.drain(..) {
                self.topics.as_mut().map(|topics| topics.remove(topic.as_str()));
                change.answers.extend(self.refusal(&error, topic.as_str()));
            }
            // What was taken out must not be given in any case.
            self.change().await?.ok()?;
        }
        change.answers.iter().for_each(|answer| self.outlet.send_text(answer));
        Some(())
    }

    /// Opens the stream, gives it other topics, or ends it if there are none. `None` if it has ended by itself meanwhile.
    async fn change(&mut self) -> Option<Result<(), Error>> {
        let Some(topics) = &self.topics else { return Some(Ok(())) };
        let (guest, filter) = (topics.guest(), topics.filter());
        let Some(Stream { id, serial, .. }) = self.stream else {
            return Some(if topics.is_empty() { Ok(()) } else { self.open(&guest, filter) });
        };
        if topics.is_empty() {
            // A guest without topics is not present. What the stream has begun is part of a frame, and is sent.
            self.outlet.end_stream(serial);
            poll_fn(|context| self.poll_end(context)).await;
            (self.stream, self.ended) = (None, Ended::default());
            return Some(Ok(()));
        }
        let mut changing = match self.app.events.change_filter(&guest, id, FilterChange::Replace(filter)) {
            Ok(changing) => pin!(changing),
            Err(error) => return Some(Err(error)),
        };
        poll_fn(|context| {
            if self.poll_end(context).is_ready() {
                return Poll::Ready(None);
            }
            changing.as_mut().poll(context).map_ok(drop).map(Some)
        })
        .await
    }

    /// Opens the stream, which begins with what is new.
    fn open(&mut self, guest: &Principal, filter: EventFilter) -> Result<(), Error> {
        let query = StreamQuery {
            filter,
            last_seen: LastSeen::Nothing,
            goes_on: GoesOnFor::None,
            snapshot: false,
            options: StreamOptions { backfill: false, ..StreamOptions::default() },
        };
        let request = self.app.events.subscribe(guest, query)?;
        let id = request.presence_guard.id;
        let format = if self.outlet.compresses() { &TopicMessages::Compressed } else { &TopicMessages::Plain };
        let outlet = self.outlet.stream();
        let serial = outlet.serial();
        let sink = StreamSink::new(outlet, format, Some(&self.ended));
        self.stream = Some(Stream { id, serial, catch_up: self.app.open(request, sink, Bytes::new()) });
        Ok(())
    }

    /// What is told of a refusal, if anything is.
    fn refusal(&self, error: &Error, topic: &str) -> Option<String> {
        self.app.metrics().refused(error.code());
        let refusal = Refusal { error: &error.sentence(), code: error.code(), topic };
        self.tells_errors.then(|| serde_json::to_string(&refusal).ok()).flatten()
    }
}
