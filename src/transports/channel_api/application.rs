//! What clients ask for, and what they are answered.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::OptionFuture;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::to_raw_value;

use super::client::{Client, Joined};
use super::format::ChannelMessages;
use crate::app::App;
use crate::domain::FilterChange;
use crate::error::Error;
use crate::events::HandOver;
use crate::transports::json::parse;
use crate::transports::socket_io::{Event, Json, Outlet, Socket, Types, Work};
use crate::transports::socket_streams::{Running, open};

/// What a client is told by, in the words of ChannelAPI.
const CLIENT_EVENT: &str = "clientevent";

/// What a client is told.
#[derive(Serialize)]
struct Told<'a> {
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
}

/// The argument of `join_channel`.
#[derive(Deserialize)]
struct Join {
    token: String,
}

impl Join {
    /// Reads an object, or a text that is one: ChannelAPI takes the text, and its documents show the object.
    fn read(args: &[Json]) -> Option<Self> {
        let json = args.first()?.get();
        if json.starts_with('"') { parse(&serde_json::from_str::<String>(json).ok()?).ok() } else { parse(json).ok() }
    }
}

/// What clients of ChannelAPI are served by, on one worker.
#[derive(Clone)]
pub struct ChannelApi(App);

impl ChannelApi {
    /// The application on a worker.
    pub fn new(app: App) -> Self {
        Self(app)
    }

    /// Joins the channel that a token is for. Returns its name.
    async fn join<T: Types>(&self, client: &Client, socket: &Socket<T>, token: &str) -> Result<String, Error> {
        let Self(app) = self;
        let permit = app.identity.join_channel(token).await?;
        let channel = permit.topic().to_string();
        match client.join(app, permit)? {
            Joined::Done => {}
            Joined::Write => {
                socket.attach();
            }
            Joined::Change(stream, guest, filter) => {
                let change = FilterChange::Replace(filter);
                let changed = async { app.events.change_filter(&guest, stream, change)?.await };
                match changed.await {
                    // It is about to go on elsewhere, with the channels that there are then.
                    Ok(_) | Err(Error::StreamUnknown) => {}
                    Err(error) => {
                        client.leave(&channel);
                        return Err(error);
                    }
                }
            }
        }
        Ok(channel)
    }
}

fn tell<T: Types>(socket: &Socket<T>, data: &str, count: Option<u32>) {
    // It always serializes.
    if let Ok(told) = to_raw_value(&Told { data, count }) {
        socket.emit(CLIENT_EVENT, &[told], &[]);
    }
}

impl ChannelApi {
    /// Greets a client.
    pub fn connected<T: Types>(&self, socket: &Socket<T>) {
        tell(socket, "Connected", Some(0));
    }

    /// Does what a client asks for, as [`Application::event`](crate::transports::socket_io::Application::event).
    pub fn event<T: Types>(&self, client: &Arc<Client>, socket: &Socket<T>, event: Event<T>) -> Option<Work> {
        let Event { name, args, attachments, ack } = event;
        match name.as_str() {
            "message" => {
                socket.emit(&name, &args, &attachments);
                ack.map(|ack| ack.send(&[], &[]));
                None
            }
            "join_channel" => {
                let Some(Join { token }) = Join::read(&args) else {
                    socket.disconnect();
                    return None;
                };
                let (app, client, socket) = (self.clone(), Arc::clone(client), socket.clone());
                Some(Work::new(async move {
                    let joined = app.join(&client, &socket, &token).await;
                    if let Err(error) = &joined {
                        app.0.metrics().refused(error.code());
                    }
                    match joined {
                        Ok(channel) => {
                            tell(&socket, &format!("Connected to {channel}"), None);
                            ack.map(|ack| ack.send(&[], &[]));
                        }
                        Err(Error::Unauthorized) => socket.disconnect(),
                        Err(error @ (Error::TooManyTopics(_) | Error::TooManyFilters(_))) => {
                            tell(&socket, &error.sentence(), None);
                        }
                        // It may work when the client has come back.
                        Err(_) => socket.close(),
                    }
                }))
            }
            _ => None,
        }
    }

    /// Writes the messages of a client's channels, as [`Application::stream`](crate::transports::socket_io::Application::stream). The
    /// stream is opened at once.
    pub fn stream<T: Types>(
        self,
        client: Arc<Client>,
        socket: Socket<T>,
        outlet: Outlet<T>,
    ) -> impl Future<Output = ()> {
        let Self(app) = self;
        let is_polling = matches!(outlet, Outlet::Polling(_));
        let begun =
            client.begin(&app, |request| open(&app, request, outlet, None, |packets| ChannelMessages::of(packets)));
        let stream = begun.unwrap_or_else(|_| {
            socket.close();
            None
        });
        OptionFuture::from(stream.map(|stream| {
            let note = move |stands: Option<HandOver>| {
                let is_over = stands.is_none();
                if let Some(stands) = stands {
                    client.stop(stands.position);
                }
                is_over
            };
            Running::new(socket, is_polling, stream, note).map(|(socket, is_over)| {
                if is_over {
                    // Nothing more of the channels can come on this session.
                    socket.close();
                }
            })
        }))
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn a_token_comes_in_an_object_or_in_the_text_of_one() {
        let read = |json: &str| Join::read(&[RawValue::from_string(json.to_owned()).unwrap()]).map(|join| join.token);
        for json in [r#"{"token":"abc"}"#, r#""{\"token\": \"abc\"}""#, r#"{"token":"abc","x":1}"#] {
            assert_eq!(read(json).as_deref(), Some("abc"), "{json}");
        }
        for json in ["\"abc\"", "{}", "1", "null", r#"{"token":1}"#, r#"["abc"]"#, r#""\"x\"""#] {
            assert_eq!(read(json), None, "{json}");
        }
        assert!(Join::read(&[]).is_none());
    }
}
