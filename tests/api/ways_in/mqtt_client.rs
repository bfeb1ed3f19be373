//! A user who comes by MQTT.

use std::cell::Cell;
use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex, split};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::said::Said;
use super::visitor::Visitor;
use crate::support::mqtt::{Connect, Mqtt, Packet};
use crate::support::within;

/// How MQTT is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Tcp,
    WebSocket,
}

/// What a user shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Token,
    Password,
}

/// Bytes both ways.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A client of MQTT 5 that is let in.
pub struct MqttClient {
    mqtt: Mqtt<Box<dyn Duplex>>,
    /// The payloads of messages that came before an answer.
    came: VecDeque<String>,
    /// How it has ended, if it has.
    end: Option<String>,
}

thread_local! {
    /// So that no two clients of a test have the same identifier.
    static CLIENTS: Cell<usize> = const { Cell::new(0) };
}

impl MqttClient {
    /// Connects. There is a client if it is let in.
    pub async fn connect(visitor: &Visitor, line: Line, shown: Shown) -> (Said, Option<Self>) {
        let socket: Box<dyn Duplex> = match line {
            Line::Tcp => Box::new(TcpStream::connect(&visitor.mqtt).await.unwrap()),
            Line::WebSocket => Box::new(websocket(&visitor.client.url).await),
        };
        let (username, password) = match shown {
            Shown::Token => ("JWT", &visitor.jwt),
            Shown::Password => (visitor.username.as_str(), &visitor.password),
        };
        let login = password.as_ref().map(|password| (username, password.as_str()));
        let client_id = &CLIENTS.with(|clients| format!("client-{}", clients.replace(clients.get() + 1)));
        let mut client = Self { mqtt: Mqtt::over(socket, 5), came: VecDeque::new(), end: None };
        client.mqtt.send(&Connect { level: 5, client_id, login, ..Connect::default() }.bytes()).await;
        match client.mqtt.packet().await {
            Some(Packet { first: 0x20, body }) if body[1] == 0 => (Ok(()), Some(client)),
            Some(Packet { first: 0x20, body }) => {
                assert_eq!(client.mqtt.packet().await, None, "a client that is not let in goes");
                (Err(format!("connack {:#x}", body[1])), None)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Subscribes to the room and the marks, of which each alone may be refused.
    pub async fn subscribe(&mut self, visitor: &Visitor) -> Said {
        let codes = self.mqtt.subscribe(&[(&visitor.room, 0), (&visitor.mark, 0)]).await;
        codes.iter().find(|code| **code >= 0x80).map_or(Ok(()), |code| Err(format!("suback {code:#x}")))
    }

    /// Publishes to the room, and awaits what is said to that.
    pub async fn insert(&mut self, visitor: &Visitor, data: &str) -> Said {
        let payload = serde_json::to_string(data).unwrap();
        let id = self.mqtt.id();
        let publish = self.mqtt.publish_bytes((&visitor.room, payload.as_bytes()), 1, true, id, &[]);
        // The connection may have ended.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut self.mqtt.socket, &publish).await;
        loop {
            if let Some(end) = &self.end {
                return Err(end.clone());
            }
            if let Some(packet) = self.read().await {
                assert_eq!((packet.first, &packet.body[..2]), (0x40, &id.to_be_bytes()[..]));
                let code = packet.body.get(2).copied().unwrap_or_default();
                return if code < 0x80 { Ok(()) } else { Err(format!("puback {code:#x}")) };
            }
        }
    }

    /// Takes what comes. Returns a packet that is neither a message nor the end.
    async fn read(&mut self) -> Option<Packet> {
        let Some(packet) = self.mqtt.packet().await else {
            self.end.get_or_insert_with(|| "cut".to_owned());
            return None;
        };
        if let Some(message) = self.mqtt.as_message(&packet) {
            // A text that is no JSON comes as it is.
            let text = String::from_utf8(message.payload).unwrap();
            self.came.push_back(serde_json::from_str(&text).unwrap_or(text));
        } else if packet.first == 0xE0 {
            self.end = Some(format!("disconnect {:#x}", packet.body.first().copied().unwrap_or_default()));
        } else {
            return Some(packet);
        }
        None
    }

    /// The data of the next event.
    ///
    /// # Errors
    /// How it has ended.
    pub async fn next(&mut self) -> Result<String, String> {
        loop {
            if let Some(data) = self.came.pop_front() {
                return Ok(data);
            }
            if let Some(end) = &self.end {
                return Err(end.clone());
            }
            let packet = self.read().await;
            assert_eq!(packet, None);
        }
    }
}

/// The bytes in the messages of a WebSocket.
async fn websocket(url: &str) -> DuplexStream {
    let mut request = format!("{}/mqtt", url.replacen("http", "ws", 1)).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "mqtt".parse().unwrap());
    let (socket, _) = within("a WebSocket", tokio_tungstenite::connect_async(request)).await.unwrap();
    let (mut to_server, mut from_server) = socket.split();
    let (here, there) = duplex(64 << 10);
    let (mut read, mut write) = split(there);
    tokio::spawn(async move {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = tokio::io::AsyncReadExt::read(&mut read, &mut bytes).await {
            if to_server.send(Message::binary(bytes[..length].to_vec())).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(Ok(message)) = from_server.next().await {
            let Message::Binary(bytes) = message else { continue };
            if tokio::io::AsyncWriteExt::write_all(&mut write, &bytes).await.is_err() {
                return;
            }
        }
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut write).await;
    });
    here
}
