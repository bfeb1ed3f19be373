//! The transports by which clients have their streams.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::watch;

use super::expected::is_transient;
use super::subscriber::{Door, Entry, Subscriber, Wire};
use super::tables::{FILTERS, query};
use crate::support::{Event, Kept, Socket, Stream, User};

/// An open stream.
pub enum Source {
    /// Of `/sse`, and whether its events are objects.
    Stream(Box<Stream>, bool),
    /// Over a connection.
    Socket(Box<Socket>),
}

impl Source {
    /// The next event and, if the stream tells that, who inserted it; `None` at the end.
    async fn read(&mut self) -> Option<(Event, Option<String>)> {
        let object = match self {
            Self::Stream(stream, has_envelope) => {
                let event = stream.read().await?;
                if !*has_envelope || event.name.starts_with('$') {
                    return Some((event, None));
                }
                event.envelope()
            }
            Self::Socket(socket) => {
                let object = socket.read_object().await?;
                if object["event"].as_str().is_some_and(|name| name.starts_with('$')) {
                    let text = |field: &str| object[field].as_str().unwrap().to_owned();
                    return Some((Event::new(&text("event"), &text("id"), &object["data"].to_string()), None));
                }
                serde_json::from_str(&object.to_string()).unwrap_or_else(|error| panic!("{error}: {object}"))
            }
        };
        let Kept { event: name, data, id, username, removed, transient, .. } = object;
        assert_eq!((removed, transient), (data == "null", is_transient(&data)), "{name} {id}");
        Some((Event { name, id, data }, Some(username)))
    }
}

/// Reads to the end, unless it is told to pause.
pub async fn read_to_the_end(mut source: Source, wire: Arc<Wire>, mut paused: watch::Receiver<bool>) {
    while paused.wait_for(|paused| !*paused).await.is_ok() {
        let Some((event, author)) = source.read().await else { return };
        wire.note(Entry::Frame(event, author));
    }
}

/// Opens a stream as a subscriber wants it. Returns also its id.
pub async fn open(user: &User, subscriber: &Subscriber) -> (Source, String) {
    let transient = subscriber.wants_transient;
    if subscriber.door == Door::Socket {
        let (events, except) = FILTERS[subscriber.filter];
        let fields = json!({
            "marks": true, "transient": transient, "events": events, "except": except, "after": subscriber.last_id,
        });
        let (socket, welcome) = user.socket_with(fields).await;
        return (Source::Socket(Box::new(socket)), welcome["stream"].as_str().unwrap().to_owned());
    }
    let has_envelope = subscriber.door == Door::Envelope;
    let options = format!("marks=true&envelope={has_envelope}&transient={transient}");
    let path = format!("/sse?{options}&{}", query(subscriber.filter));
    let stream = user.stream_of(&path, subscriber.last_id.as_deref()).await.cut_off_allowed();
    let id = stream.headers["broker-stream"].to_str().unwrap().to_owned();
    (Source::Stream(Box::new(stream), has_envelope), id)
}
