//! A connection of `broker.v1`, by a client of WebSocket that nobody here wrote.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Event, User, within};

/// A connection. Whatever comes is looked at: each text is an object, and answers stand beside events.
pub struct Socket {
    connection: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What has come and was not asked for yet.
    pending: VecDeque<Value>,
    last_ref: u64,
    pub heartbeats: usize,
    /// The code and the reason that the server closed with.
    closed: Option<(u16, String)>,
}

impl Socket {
    /// Connects, and says nothing.
    pub async fn connect(url: &str) -> Self {
        let mut request = format!("{}/ws", url.replacen("http", "ws", 1)).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "broker.v1".parse().unwrap());
        let (connection, answer) = within("a connection", connect_async(request)).await.unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], "broker.v1");
        Self { connection, pending: VecDeque::new(), last_ref: 0, heartbeats: 0, closed: None }
    }

    /// Sends a text as it is; whether the connection took it.
    pub async fn send_text(&mut self, text: &str) -> bool {
        within("room for a frame", self.connection.send(Message::text(text))).await.is_ok()
    }

    /// Sends a binary message.
    pub async fn send_binary(&mut self, bytes: &'static [u8]) {
        let message = Message::Binary(Bytes::from_static(bytes));
        within("room for a frame", self.connection.send(message)).await.unwrap();
    }

    /// Sends a close frame with this code.
    pub async fn send_close(&mut self, code: u16) {
        let close = CloseFrame { code: code.into(), reason: Utf8Bytes::default() };
        within("room for a frame", self.connection.send(Message::Close(Some(close)))).await.unwrap();
    }

    /// Sends a frame with the next number, which is returned.
    pub async fn send(&mut self, verb: &str, mut fields: Value) -> u64 {
        self.last_ref += 1;
        fields["do"] = json!(verb);
        fields["ref"] = json!(self.last_ref);
        self.send_text(&fields.to_string()).await;
        self.last_ref
    }

    /// The next object that is no heartbeat, not bounded in time; `None` at the end.
    async fn receive(&mut self) -> Option<Value> {
        loop {
            match self.receive_any().await? {
                Value::Object(heartbeat) if heartbeat.is_empty() => self.heartbeats += 1,
                object => return Some(object),
            }
        }
    }

    async fn receive_any(&mut self) -> Option<Value> {
        loop {
            match self.connection.next().await {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    self.closed = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other)) => panic!("{other:?}"),
                // A server that was killed says nothing.
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The answer to the frame with a number. Events that come before it are kept.
    pub async fn answer(&mut self, reference: u64) -> Value {
        self.answer_to(&json!(reference)).await
    }

    /// The answer with this `ref`, which is `null` where the frame had none.
    pub async fn answer_to(&mut self, reference: &Value) -> Value {
        let answer = self.answer_before_the_end(reference).await;
        answer.unwrap_or_else(|| panic!("no answer: closed with {:?}", self.closed))
    }

    /// The same; `None` if the connection ends without it.
    pub async fn answer_before_the_end(&mut self, reference: &Value) -> Option<Value> {
        if let Some(at) = self.pending.iter().position(|object| object.get("ref") == Some(reference)) {
            return self.pending.remove(at);
        }
        loop {
            let object = within("an answer", self.receive()).await?;
            if object.get("ref") == Some(reference) {
                return Some(object);
            }
            self.pending.push_back(object);
        }
    }

    /// Sends a frame, and awaits its answer.
    pub async fn ask(&mut self, verb: &str, fields: Value) -> Value {
        let reference = self.send(verb, fields).await;
        self.answer(reference).await
    }

    /// What a frame is answered that must succeed.
    pub async fn ok(&mut self, verb: &str, fields: Value) -> Value {
        let mut answer = self.ask(verb, fields).await;
        assert!(answer.get("error").is_none(), "{answer}");
        answer["ok"].take()
    }

    /// The answer to a frame that must be refused with this code.
    pub async fn refused(&mut self, verb: &str, fields: Value, code: &str) -> Value {
        let answer = self.ask(verb, fields).await;
        assert_eq!(answer["code"], code, "{answer}");
        assert!(
            answer["error"].as_str().is_some_and(|error| !error.is_empty()) && answer.get("ok").is_none(),
            "{answer}"
        );
        answer
    }

    /// The next event, as the object that it came in; not bounded in time, and `None` at the end.
    pub async fn read_object(&mut self) -> Option<Value> {
        if let Some(at) = self.pending.iter().position(|object| object.get("event").is_some()) {
            return self.pending.remove(at);
        }
        loop {
            let object = self.receive().await?;
            if object.get("event").is_some() {
                return Some(object);
            }
            self.pending.push_back(object);
        }
    }

    /// The next event.
    pub async fn next_object(&mut self) -> Value {
        within("an event", self.read_object()).await.unwrap_or_else(|| panic!("closed with {:?}", self.closed))
    }

    /// The next event without its author and time, as a stream of `/sse` gives it; `None` at the end.
    pub async fn read(&mut self) -> Option<Event> {
        let object = self.read_object().await?;
        let text = |field: &str| object[field].as_str().unwrap_or_else(|| panic!("no {field}: {object}"));
        Some(Event::new(text("event"), text("id"), &object["data"].to_string()))
    }

    /// The same, which must come.
    pub async fn next(&mut self) -> Event {
        within("an event", self.read()).await.unwrap_or_else(|| panic!("closed with {:?}", self.closed))
    }

    /// The next events.
    pub async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(count);
        for _ in 0..count {
            events.push(self.next().await);
        }
        events
    }

    /// Every event that comes up to now. Somebody inserts a marker for that, which the stream must let through.
    pub async fn so_far(&mut self, by: &User) -> Vec<Event> {
        let id = by.insert("mark", json!(null)).await;
        let mut events = Vec::new();
        loop {
            let event = self.next().await;
            // An earlier one is of no interest.
            if event.name != "mark" {
                events.push(event);
            } else if event.id == id {
                return events;
            }
        }
    }

    /// What comes before the next `$synced`, and the number of the change that it covers.
    pub async fn until_sync(&mut self) -> (Vec<Event>, Option<u64>) {
        let mut events = Vec::new();
        loop {
            let event = self.next().await;
            if event.name == "$synced" {
                return (events, event.json()["change"].as_u64());
            }
            events.push(event);
        }
    }

    /// Awaits a heartbeat.
    pub async fn heartbeat(&mut self) {
        within("a heartbeat", async {
            loop {
                let object = self.receive_any().await.expect("the connection goes on");
                if object == json!({}) {
                    self.heartbeats += 1;
                    return;
                }
                self.pending.push_back(object);
            }
        })
        .await;
    }

    /// Reads to the end: the code that the server closes with. `None` if it says nothing, as when it is killed.
    pub async fn closed(&mut self) -> Option<u16> {
        within("the end of the connection", async {
            while let Some(object) = self.receive().await {
                self.pending.push_back(object);
            }
        })
        .await;
        self.closed.clone().map(|(code, _)| code)
    }

    /// Whether the answer to a frame has come and was not read.
    pub fn was_answered(&self, reference: u64) -> bool {
        self.pending.iter().any(|object| object["ref"] == reference && object.get("ok").is_some())
    }

    /// Whether an event has come that was not read.
    pub fn has_unread(&self) -> bool {
        self.pending.iter().any(|object| object.get("event").is_some())
    }

    /// Closes it, and awaits that the server has, too.
    pub async fn close(mut self) {
        let _ = self.connection.close(None).await;
        self.closed().await;
    }
}

impl User {
    /// Signs in on a connection of its own, with more fields. Returns also the answer.
    pub async fn socket_with(&self, mut fields: Value) -> (Socket, Value) {
        let mut socket = Socket::connect(&self.client.url).await;
        fields["token"] = json!(self.jwt());
        let welcome = socket.ok("sign_in", fields).await;
        (socket, welcome)
    }

    /// The same without the answer.
    pub async fn socket(&self, fields: Value) -> Socket {
        self.socket_with(fields).await.0
    }
}
