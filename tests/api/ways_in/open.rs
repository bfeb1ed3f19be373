//! What is open after somebody has subscribed, and what comes through it.

use std::collections::VecDeque;

use tokio_tungstenite::tungstenite::Message;

use super::mqtt_client::MqttClient;
use super::said::of_answer;
use super::session::{Packet, Session};
use super::user_socket::UserSocket;
use crate::support::{Kept, Page, Socket, Stream, TopicClient, User, within};

/// Something that is open. Each gives the data of events, which here are texts.
pub enum Open {
    Sse(Box<Stream>),
    Lists(Box<Lists>),
    Socket(Box<Socket>),
    User(Box<UserSocket>),
    Topics {
        client: Box<TopicClient>,
        /// What came before the answer to a command.
        came: VecDeque<String>,
    },
    Channels(Box<Channels>),
    Mqtt(Box<MqttClient>),
}

/// Somebody who reads lists of a name.
pub struct Lists {
    pub reader: User,
    pub room: String,
}

/// A client of channels.
pub struct Channels {
    pub session: Session,
    /// What came before the server told something.
    pub came: VecDeque<String>,
    /// Whether it was disconnected. The session may last longer, for other namespaces.
    pub is_over: bool,
}

/// What came up to a marker, or to the end.
pub struct Received {
    /// The data of the events, without markers.
    pub data: Vec<String>,
    /// How it ended, if it did.
    pub end: Option<String>,
}

impl Open {
    /// Everything that comes up to a marker, or to the end.
    pub async fn receive(&mut self, marker: &str) -> Received {
        if let Self::Lists(lists) = self {
            return lists.read().await;
        }
        let mut data = Vec::new();
        loop {
            match within("a marker or the end", self.next()).await {
                Ok(text) if text == marker => return Received { data, end: None },
                Ok(text) if text.starts_with("mark-") => {}
                Ok(text) => data.push(text),
                Err(end) => return Received { data, end: Some(end) },
            }
        }
    }

    /// The data of the next event; how it has ended, if it has.
    async fn next(&mut self) -> Result<String, String> {
        match self {
            Self::Sse(stream) => match stream.read().await {
                Some(event) => Ok(event.json().as_str().unwrap().to_owned()),
                None => Err("ended".to_owned()),
            },
            Self::Lists(_) => Err("read".to_owned()),
            Self::Socket(socket) => match socket.read().await {
                Some(event) => Ok(event.json().as_str().unwrap().to_owned()),
                None => Err(format!("closed {}", socket.closed().await.unwrap_or_default())),
            },
            Self::User(socket) => socket.next().await,
            Self::Topics { client, came } => match came.pop_front() {
                Some(text) => Ok(text),
                None => match client.next_message().await {
                    Some(Message::Text(text)) => Ok(text.to_string()),
                    Some(Message::Close(frame)) => {
                        Err(format!("closed {}", frame.map_or(0, |frame| frame.code.into())))
                    }
                    other => Err(format!("{other:?}")),
                },
            },
            Self::Mqtt(client) => client.next().await,
            Self::Channels(channels) => channels.next().await.ok_or_else(|| "disconnected".to_owned()),
        }
    }
}

impl Lists {
    /// The history of the name, which has its latest event too.
    async fn read(&self) -> Received {
        let Self { reader, room } = self;
        let (latest, history) = (format!("/events?events={room}"), format!("/history?event={room}&limit=1000"));
        let (latest, history) = (reader.get(&latest).await, reader.get(&history).await);
        if let (Err(end), Err(same)) = (of_answer(&latest), of_answer(&history)) {
            assert_eq!(end, same);
            return Received { data: Vec::new(), end: Some(end) };
        }
        let (latest, history): (Vec<Kept>, Page) = (latest.read(), history.read());
        assert!(latest.iter().all(|event| history.events.contains(event)), "{latest:?} is not in {history:?}");
        let data = history.events.iter().map(|event| serde_json::from_str(&event.data).unwrap());
        Received { data: data.collect(), end: None }
    }
}

impl Channels {
    /// The next thing that the server tells by `clientevent`; `None` at the end.
    pub async fn told(&mut self) -> Option<String> {
        loop {
            match within("an answer", self.session.next()).await {
                Packet::Event(name, args) if name == "clientevent" => {
                    return Some(args[0]["data"].as_str().unwrap().to_owned());
                }
                Packet::Event(_, args) => self.came.push_back(args[0].as_str().unwrap().to_owned()),
                Packet::End => {
                    self.is_over = true;
                    return None;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    async fn next(&mut self) -> Option<String> {
        if let Some(data) = self.came.pop_front() {
            return Some(data);
        }
        if self.is_over {
            return None;
        }
        match self.session.next().await {
            Packet::Event(name, args) if name == "message" => Some(args[0].as_str().unwrap().to_owned()),
            Packet::End => {
                self.is_over = true;
                None
            }
            other => panic!("{other:?}"),
        }
    }
}
