//! A client by WebSocket, which sees every packet.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::client::Polling;
use super::server::EchoServer;
use crate::support::within;

/// A client by WebSocket.
pub struct WebSocket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl WebSocket {
    /// Connects, with these parameters.
    ///
    /// # Errors
    /// The status of the answer and its body, if it is another one.
    pub async fn connect(server: &EchoServer, query: &str) -> Result<Self, (u16, String)> {
        Self::connect_to(&server.url(), query).await
    }

    /// The same at a URL.
    ///
    /// # Errors
    /// The same.
    pub async fn connect_to(url: &str, query: &str) -> Result<Self, (u16, String)> {
        let url = format!("{}/socket.io/?{query}", url.replacen("http", "ws", 1));
        match within("a WebSocket", tokio_tungstenite::connect_async(url)).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => {
                let (head, body) = answer.into_parts();
                Err((head.status.as_u16(), String::from_utf8(body.unwrap_or_default()).unwrap()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Opens a session. Returns what it is told of it, too.
    pub async fn open(server: &EchoServer) -> (Self, Value) {
        let mut socket = Self::connect(server, "EIO=4&transport=websocket").await.unwrap();
        let opened = socket.text().await;
        (socket, serde_json::from_str(opened.strip_prefix('0').unwrap()).unwrap())
    }

    /// Opens a session, and joins the main namespace.
    pub async fn join(server: &EchoServer) -> Self {
        let (mut socket, _) = Self::open(server).await;
        socket.send("40").await;
        assert!(socket.text().await.starts_with("40{"));
        assert_eq!(socket.text().await, r#"42["auth",{}]"#);
        socket
    }

    /// A second transport of a session.
    pub async fn upgrade(server: &EchoServer, polling: &Polling) -> Self {
        Self::upgrade_at(&server.url(), polling).await
    }

    /// The same, of a session of a server at a URL.
    pub async fn upgrade_at(url: &str, polling: &Polling) -> Self {
        let sid = polling.path.split_once("sid=").unwrap().1;
        Self::connect_to(url, &format!("EIO=4&transport=websocket&sid={sid}")).await.unwrap()
    }

    pub async fn send(&mut self, text: &str) {
        assert!(self.try_send(text).await, "the connection has ended");
    }

    /// Sends a text; whether the connection took it.
    pub async fn try_send(&mut self, text: &str) -> bool {
        self.0.send(Message::text(text)).await.is_ok()
    }

    pub async fn send_binary(&mut self, bytes: &[u8]) {
        self.0.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    /// The next message; `None` when the connection has ended.
    pub async fn message(&mut self) -> Option<Message> {
        loop {
            match within("a message", self.0.next()).await? {
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(message) => return Some(message),
            }
        }
    }

    pub async fn text(&mut self) -> String {
        let message = self.message().await.expect("the connection goes on");
        message.into_text().unwrap().as_str().to_owned()
    }

    /// The next message is the last one.
    pub async fn ends(mut self) {
        assert_eq!(self.message().await, None);
    }
}
