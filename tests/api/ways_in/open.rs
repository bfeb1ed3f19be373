//! What is open after somebody has subscribed, and what comes through it.

use std::collections::VecDeque;

use tokio_tungstenite::tungstenite::Message;

use super::session::{Packet, Session};
use crate::support::{Socket, Stream, TopicClient, within};

/// Something that is open. Each gives the data of events, which here are texts.
pub enum Open {
    Sse(Box<Stream>),
    Socket(Box<Socket>),
    Topics {
        client: Box<TopicClient>,
        /// What came before the answer to a command.
        came: VecDeque<String>,
    },
    Channels(Box<Channels>),
}

/// A client of channels.
pub struct Channels {
    pub session: Session,
    /// What came before the server told something.
    pub came: VecDeque<String>,
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
            Self::Socket(socket) => match socket.read().await {
                Some(event) => Ok(event.json().as_str().unwrap().to_owned()),
                None => Err(format!("closed {}", socket.closed().await.unwrap_or_default())),
            },
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
            Self::Channels(channels) => channels.next().await.ok_or_else(|| "disconnected".to_owned()),
        }
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
                Packet::End => return None,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn next(&mut self) -> Option<String> {
        if let Some(data) = self.came.pop_front() {
            return Some(data);
        }
        match self.session.next().await {
            Packet::Event(name, args) if name == "message" => Some(args[0].as_str().unwrap().to_owned()),
            Packet::End => None,
            other => panic!("{other:?}"),
        }
    }
}
