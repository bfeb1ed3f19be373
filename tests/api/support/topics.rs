//! A client of notiflux.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{TestServer, within};

/// What answers a command that is none. Answers come in order, so what was asked for before is in force.
const UNKNOWN: &str = "Unknown command";

/// A client of notiflux that is connected.
pub struct TopicClient(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl TopicClient {
    pub async fn connect(server: &TestServer) -> Self {
        Self::connect_to(server, "/ws").await
    }

    /// The same to a path with a query.
    pub async fn connect_to(server: &TestServer, path: &str) -> Self {
        Self::connect_at(&server.url, path).await
    }

    /// The same, to a server at a URL.
    pub async fn connect_at(url: &str, path: &str) -> Self {
        let url = format!("{}{path}", url.replacen("http", "ws", 1));
        let (socket, _) = within("a connection", connect_async(url)).await.unwrap();
        Self(socket)
    }

    /// Sends a text.
    pub async fn send(&mut self, text: &str) {
        within("a text to be sent", self.0.send(Message::text(text))).await.unwrap();
    }

    /// Sends any message.
    pub async fn send_message(&mut self, message: Message) {
        within("a message to be sent", self.0.send(message)).await.unwrap();
    }

    /// Waits until all commands so far are in force. Returns the messages that came before that.
    pub async fn settled(&mut self) -> Vec<String> {
        self.send("/settled?").await;
        let mut before = Vec::new();
        loop {
            match self.next().await {
                text if text == UNKNOWN => return before,
                text => before.push(text),
            }
        }
    }

    /// Subscribes to a topic, which nothing says.
    pub async fn subscribe(&mut self, topic: &str, token: &str) {
        self.send(&format!("/subscribe {topic} {token}")).await;
        assert_eq!(self.settled().await, Vec::<String>::new());
    }

    /// The next text.
    pub async fn next(&mut self) -> String {
        match self.next_message().await {
            Some(Message::Text(text)) => text.to_string(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// The next message that is neither a ping nor a pong; `None` at the end.
    pub async fn next_message(&mut self) -> Option<Message> {
        loop {
            match within("a message", self.0.next()).await? {
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(message) => return Some(message),
                Err(_) => return None,
            }
        }
    }
}
